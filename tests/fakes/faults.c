/* Makes one call into the C library fail, or kills the process at it, for `tests/test_faults.py`; preloaded.

   It sleeps until a helper opens its launch file. From then on it counts the calls of each function in the table below,
   over all threads of the process and its forks, in a shared page that the test reads: the file FAULTS_PAGE, whose words
   are a flag (the fault was made), a flag (the launch file was opened), a count of forks, one of processes that have
   ended, and a count for each function.

   FAULTS_CALL=NAME and FAULTS_NTH=N choose the call, FAULTS_ERRNO=E its error; 0 kills the process instead, as SIGKILL
   does. Every file and socket is meant, those of Python's imports too: who has to bear them is the test's to say. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define NAMES(of) \
    of(open) of(read) of(write) of(close) of(fsync) of(flock) of(rename) of(link) of(unlink) of(mkdir) of(stat) \
    of(fstat) of(socket) of(connect) of(send) of(recv) of(poll) of(opendir) of(readdir) of(dup) \
    of(pthread_create) \
    of(fork)

#define AS_NUMBER(name) AT_##name,
#define AS_TEXT(name) #name,
enum { NAMES(AS_NUMBER) FUNCTIONS };
static const char *const names[] = {NAMES(AS_TEXT)};

enum { WAS_MADE, WAS_STARTED, FORKS, ENDS, FIRST };
static unsigned *page;
static int chosen = -1;
static unsigned nth;
static int number;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULTS_PAGE"), *name = getenv("FAULTS_CALL");
    if (!path)
        return;
    int file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        _exit(99);
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    syscall(SYS_close, file);
    if (page == MAP_FAILED)
        _exit(98);
    for (int i = 0; name && i < FUNCTIONS; i++)
        if (!strcmp(name, names[i]))
            chosen = i;
    nth = getenv("FAULTS_NTH") ? (unsigned)atoi(getenv("FAULTS_NTH")) : 0;
    number = getenv("FAULTS_ERRNO") ? atoi(getenv("FAULTS_ERRNO")) : 0;
}

/* Whether this call of the function is the one that fails; it has set errno then. */
static int fails(int function)
{
    if (!page || !page[WAS_STARTED])
        return 0;
    unsigned count = __atomic_add_fetch(&page[FIRST + function], 1, __ATOMIC_SEQ_CST);
    if (function != chosen || count != nth)
        return 0;
    page[WAS_MADE] = 1;
    if (!number) {
        __atomic_add_fetch(&page[ENDS], 1, __ATOMIC_SEQ_CST);
        kill(getpid(), SIGKILL);
    }
    errno = number;
    return 1;
}

/* The launch file is .../credhelpers/__pycache__/docker-credential-NAME.HEX */
static void look(const char *path)
{
    if (page && path && strstr(path, "/credhelpers/__pycache__/docker-credential-"))
        page[WAS_STARTED] = 1;
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define OPENS(name, parameters, arguments, path) \
    int name parameters \
    { \
        mode_t mode = 0; \
        va_list rest; \
        va_start(rest, flags); \
        if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) \
            mode = va_arg(rest, mode_t); \
        va_end(rest); \
        REAL(name); \
        if (fails(AT_open)) \
            return -1; \
        int found = real arguments; \
        if (found >= 0) \
            look(path); \
        return found; \
    }
OPENS(open, (const char *path, int flags, ...), (path, flags, mode), path)
OPENS(open64, (const char *path, int flags, ...), (path, flags, mode), path)
OPENS(openat, (int folder, const char *path, int flags, ...), (folder, path, flags, mode), path)
OPENS(openat64, (int folder, const char *path, int flags, ...), (folder, path, flags, mode), path)

#define FAILS(type, name, function, failed, parameters, arguments) \
    type name parameters \
    { \
        REAL(name); \
        return fails(AT_##function) ? failed : real arguments; \
    }
#define INT(name, function, parameters, arguments) FAILS(int, name, function, -1, parameters, arguments)
#define SIZE(name, function, parameters, arguments) FAILS(ssize_t, name, function, -1, parameters, arguments)

SIZE(read, read, (int file, void *to, size_t size), (file, to, size))
SIZE(pread64, read, (int file, void *to, size_t size, off64_t at), (file, to, size, at))
SIZE(write, write, (int file, const void *from, size_t size), (file, from, size))
INT(fsync, fsync, (int file), (file))
INT(flock, flock, (int file, int how), (file, how))
INT(rename, rename, (const char *from, const char *to), (from, to))
INT(renameat, rename, (int a, const char *from, int b, const char *to), (a, from, b, to))
INT(link, link, (const char *from, const char *to), (from, to))
INT(linkat, link, (int a, const char *from, int b, const char *to, int how), (a, from, b, to, how))
INT(unlink, unlink, (const char *path), (path))
INT(unlinkat, unlink, (int folder, const char *path, int how), (folder, path, how))
INT(mkdir, mkdir, (const char *path, mode_t mode), (path, mode))
INT(mkdirat, mkdir, (int folder, const char *path, mode_t mode), (folder, path, mode))
INT(stat, stat, (const char *restrict path, struct stat *restrict to), (path, to))
INT(stat64, stat, (const char *restrict path, struct stat64 *restrict to), (path, to))
INT(lstat, stat, (const char *restrict path, struct stat *restrict to), (path, to))
INT(lstat64, stat, (const char *restrict path, struct stat64 *restrict to), (path, to))
INT(fstatat, stat, (int folder, const char *restrict path, struct stat *restrict to, int how), (folder, path, to, how))
INT(fstatat64, stat, (int folder, const char *restrict path, struct stat64 *restrict to, int how),
    (folder, path, to, how))
INT(fstat, fstat, (int file, struct stat *to), (file, to))
INT(fstat64, fstat, (int file, struct stat64 *to), (file, to))
INT(socket, socket, (int family, int type, int protocol), (family, type, protocol))
INT(connect, connect, (int file, const struct sockaddr *to, socklen_t size), (file, to, size))
SIZE(send, send, (int file, const void *from, size_t size, int how), (file, from, size, how))
SIZE(recv, recv, (int file, void *to, size_t size, int how), (file, to, size, how))
INT(poll, poll, (struct pollfd *files, nfds_t size, int wait), (files, size, wait))
INT(dup, dup, (int file), (file))
FAILS(DIR *, opendir, opendir, NULL, (const char *path), (path))
FAILS(DIR *, fdopendir, opendir, NULL, (int file), (file))
FAILS(struct dirent *, readdir, readdir, NULL, (DIR *folder), (folder))
FAILS(struct dirent64 *, readdir64, readdir, NULL, (DIR *folder), (folder))

pid_t fork(void)
{
    REAL(fork);
    if (fails(AT_fork))
        return -1;
    if (page)
        __atomic_add_fetch(&page[FORKS], 1, __ATOMIC_SEQ_CST);
    return real();
}

/* Called by `exit`, too, as an interpreter ends that nobody has told to be quick. */
__attribute__((destructor)) static void end(void)
{
    if (page && page[WAS_STARTED])
        __atomic_add_fetch(&page[ENDS], 1, __ATOMIC_SEQ_CST);
}

void _exit(int status)
{
    end();
    syscall(SYS_exit_group, status);
    __builtin_unreachable();
}

/* A fork instead: what returns twice cannot return through here while it has the parent's stack. */
pid_t vfork(void)
{
    return fork();
}

/* Closes all the same, as the kernel does (close(2)), and fails for files alone, which may be on a server. */
int close(int file)
{
    REAL(close);
    struct stat status;
    if (!page || syscall(SYS_newfstatat, file, "", &status, AT_EMPTY_PATH) || !S_ISREG(status.st_mode) ||
        !fails(AT_close))
        return real(file);
    int error = errno;
    real(file);
    errno = error;
    return -1;
}

int pthread_create(pthread_t *restrict to, const pthread_attr_t *restrict how, void *(*run)(void *), void *restrict with)
{
    REAL(pthread_create);
    return fails(AT_pthread_create) ? errno : real(to, how, run, with);
}

#define FCNTL(name) \
    int name(int file, int what, ...) \
    { \
        va_list rest; \
        va_start(rest, what); \
        void *with = va_arg(rest, void *); \
        va_end(rest); \
        REAL(name); \
        if ((what == F_DUPFD || what == F_DUPFD_CLOEXEC) && fails(AT_dup)) \
            return -1; \
        return real(file, what, with); \
    }
FCNTL(fcntl)
FCNTL(fcntl64)
