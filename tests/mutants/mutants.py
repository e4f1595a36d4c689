"""All mutants."""

from __future__ import annotations

from tests.mutants import granting, leading, living, standing
from tests.mutants.mutant import Mutant

MUTANTS: list[Mutant] = [*granting.MUTANTS, *leading.MUTANTS, *living.MUTANTS, *standing.MUTANTS]
