// The first process of the guest: it makes the host's file system the guest's, runs one script and switches off.
//
// It comes with the initrd and nothing else does but the modules that it loads, in the order in which /modules
// names them. The host's root arrives over 9p and stays read-only: what the guest writes goes to an overlay in
// memory and is gone with it. Only /out, a directory of the host's, is written for good.
//
// The kernel hands over what it does not know of its command line as our environment: run, shm.
//
// Invariant: /out/rc exists only if the script ended by itself, and holds its exit code; the kernel's log is
// written before it. Whatever fails earlier says so on the console and switches off without /out/rc.
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum {
    debug_exit_port = 0xf4,  // where boot.py puts isa-debug-exit
    read_all = 3,            // klogctl's actions have no names in glibc
    buffer_size = 10,
};

static const char p9_options[] = "trans=virtio,version=9p2000.L,msize=512000";

static _Noreturn void switch_off(void) {
    if (iopl(3) == 0) {
        outb(0, debug_exit_port);
    }
    for (;;) {
        pause();
    }
}

static _Noreturn void give_up(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("init: ", stdout);
    vprintf(format, arguments);
    printf(": %s\n", strerror(errno));
    va_end(arguments);
    fflush(stdout);
    tcdrain(STDOUT_FILENO);
    switch_off();
}

static const char* setting(const char* name) {
    const char* value = getenv(name);
    if (value == NULL) {
        errno = EINVAL;
        give_up("the kernel's command line does not set %s", name);
    }
    return value;
}

static void mount_at(const char* source, const char* target, const char* type, unsigned long flags,
                     const char* options) {
    if (mkdir(target, 0755) != 0 && errno != EEXIST) {
        give_up("cannot make %s", target);
    }
    if (mount(source, target, type, flags, options) != 0) {
        give_up("cannot mount %s on %s", source, target);
    }
}

static void open_as_standard(const char* path) {
    const int handle = open(path, O_RDWR);
    for (int descriptor = 0; handle >= 0 && descriptor < 3; descriptor++) {
        dup2(handle, descriptor);
    }
    if (handle > 2) {
        close(handle);
    }
}

static void load_modules(void) {
    char name[256];
    FILE* list = fopen("/modules", "re");
    if (list == NULL) {
        give_up("cannot read /modules");
    }
    while (fgets(name, sizeof name, list) != NULL) {
        name[strcspn(name, "\n")] = '\0';
        const int module = open(name, O_RDONLY | O_CLOEXEC);
        if (module < 0 || (syscall(SYS_finit_module, module, "", 0) != 0 && errno != EEXIST)) {
            give_up("cannot load %s", name);
        }
        close(module);
    }
    fclose(list);
}

// The chroot is this process's own: the kernel starts modprobe with the root of pid 1.
static void enter_root(void) {
    char options[256];
    snprintf(options, sizeof options, "%s,cache=loose", p9_options);
    mount_at("hostroot", "/lower", "9p", MS_RDONLY, options);
    mount_at("tmpfs", "/writes", "tmpfs", 0, "size=75%");
    if (mkdir("/writes/upper", 0755) != 0 || mkdir("/writes/work", 0755) != 0) {
        give_up("cannot make the overlay's directories");
    }
    mount_at("overlay", "/system", "overlay", 0, "lowerdir=/lower,upperdir=/writes/upper,workdir=/writes/work");
    mount_at("proc", "/system/proc", "proc", 0, NULL);
    mount_at("sysfs", "/system/sys", "sysfs", 0, NULL);
    mount_at("devtmpfs", "/system/dev", "devtmpfs", 0, NULL);
    mount_at("devpts", "/system/dev/pts", "devpts", 0, NULL);
    snprintf(options, sizeof options, "size=%s", setting("shm"));
    mount_at("tmpfs", "/system/dev/shm", "tmpfs", 0, options);
    mount_at("tmpfs", "/system/run", "tmpfs", 0, "mode=755");
    mount_at("out", "/system/out", "9p", 0, p9_options);
    if (chroot("/system") != 0 || chdir("/") != 0) {
        give_up("cannot enter the host's root");
    }
}

// Nobody else will: without it not even 127.0.0.1 answers.
static void start_loopback(void) {
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    const int handle = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (handle < 0 || ioctl(handle, SIOCSIFFLAGS, &loopback) != 0 || sethostname("guest", 5) != 0) {
        give_up("cannot set up the loopback device and the host's name");
    }
    close(handle);
}

static _Noreturn void become_script(const char* script) {
    setsid();
    open_as_standard("/dev/ttyS0");  // which becomes the session's terminal, as /dev/console cannot: for shells
    char* const arguments[] = {"bash", (char*)script, NULL};
    char* const environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
                                 "TERM=dumb", "LANG=C.UTF-8", NULL};
    execve("/bin/bash", arguments, environment);
    give_up("cannot start bash");
}

// As a shell would say it: the exit code, or 128 and the signal. Other children are orphans that came to pid 1.
static int run_script(const char* script) {
    const pid_t child = fork();
    if (child < 0) {
        give_up("cannot fork");
    }
    if (child == 0) {
        become_script(script);
    }
    int status = 0;
    for (pid_t ended = 0; ended != child;) {
        ended = wait(&status);
        if (ended < 0 && errno != EINTR) {
            give_up("cannot wait for the script");
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void write_file(const char* path, const char* bytes, size_t size) {
    FILE* file = fopen(path, "we");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) {
        give_up("cannot write %s", path);
    }
}

static void write_kernel_log(void) {
    const int size = klogctl(buffer_size, NULL, 0);
    char* log = malloc(size > 0 ? (size_t)size : 1);
    const int length = log != NULL ? klogctl(read_all, log, size) : -1;
    if (length < 0) {
        give_up("cannot read the kernel's log");
    }
    write_file("/out/dmesg", log, (size_t)length);
    free(log);
}

int main(void) {
    mount_at("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    open_as_standard("/dev/console");
    load_modules();
    enter_root();
    start_loopback();
    const int code = run_script(setting("run"));
    char text[16];
    const int length = snprintf(text, sizeof text, "%d\n", code);
    write_kernel_log();
    write_file("/out/rc", text, (size_t)length);
    tcdrain(STDOUT_FILENO);
    switch_off();
}
