"""For tests of applications, and of Mu itself: processes, load, histories.

- `LocalCluster`: start, kill, stop, resume and restart replicas; execute commands at whoever leads.
- `Load`, `Ledger`, `lost_commands`: numbered commands, what was acknowledged of them, and whether it is all there.
- `SimCluster`: a whole cluster in one thread, simulated: every fault, a judge, and one seed that decides everything.
- `check_linearizable`: whether a history of operations could have happened one at a time.
"""

from mu.testing.ledger import Ledger, LedgerView, lost_commands
from mu.testing.linearizability import (
    CheckTimeout,
    Counter,
    Model,
    Operation,
    Register,
    Verdict,
    check_linearizable,
)
from mu.testing.load import Acknowledged, LoadReport, LoadSpec
from mu.testing.local_cluster import Load, LocalCluster
from mu.testing.sim_cluster import SimCluster

__all__ = [
    "Acknowledged",
    "CheckTimeout",
    "Counter",
    "Ledger",
    "LedgerView",
    "Load",
    "LoadReport",
    "LoadSpec",
    "LocalCluster",
    "Model",
    "Operation",
    "Register",
    "SimCluster",
    "Verdict",
    "check_linearizable",
    "lost_commands",
]
