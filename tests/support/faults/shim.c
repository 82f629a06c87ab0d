/* Strikes the process into which it is preloaded at the n-th change of a folder: kills it, or fails the call.
 *
 * Only calls that change something at or below the folder count. The process arms itself: fault_arm(folder, mode, n,
 * error); fault_count() returns the number of calls. A killed write has written half of its bytes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, KILL, FAIL_ONCE, FAIL_ON, SHORT };

static char folder[PATH_MAX];
static size_t folder_length;
static volatile int mode = OFF;
static volatile long at, count;
static int error_number;

void fault_arm(const char *path, int what, long number, int error) {
    strncpy(folder, path, sizeof folder - 1);
    folder_length = strlen(folder);
    at = number;
    error_number = error;
    count = 0;
    mode = what;
}

long fault_count(void) { return count; }
int fault_struck(void) { return count >= at; }

static int below(const char *path) { return strncmp(path, folder, folder_length) == 0; }

static int known_path(int directory, const char *path) {
    char link[64], where[PATH_MAX];
    if (!folder_length) return 0;
    if (path[0] == '/') return below(path);
    if (directory == AT_FDCWD) return getcwd(where, sizeof where) && below(where);
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t got = readlink(link, where, sizeof where - 1);
    if (got < 0) return 0;
    where[got] = 0;
    return below(where);
}

static int known_file(int descriptor) {
    struct stat about;
    if (!folder_length || fstat(descriptor, &about) || !(S_ISREG(about.st_mode) || S_ISDIR(about.st_mode))) return 0;
    return known_path(descriptor, "");
}

/* 0: continue. 1: the call fails, errno is set. 2: the call does half its work; *kill: the process then dies. */
static int strike(int known, int divisible) {
    int saved = errno;
    if (!known) return 0;
    long number = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    errno = saved;
    if (mode == OFF || number < at || (mode != FAIL_ON && number > at)) return 0;
    if (mode == KILL && !divisible) kill(getpid(), SIGKILL);
    if (mode == KILL || (mode == SHORT && divisible)) return 2;
    if (mode == SHORT) return 0;
    errno = error_number;
    return 1;
}

static void after_half(void) {
    if (mode == KILL) kill(getpid(), SIGKILL);
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define CHANGES_PATH(name, parameters, arguments, directory, path)                                                    \
    int name parameters { REAL(name); return strike(known_path(directory, path), 0) ? -1 : real arguments; }

CHANGES_PATH(rename, (const char *a, const char *b), (a, b), AT_FDCWD, b)
CHANGES_PATH(renameat, (int d, const char *a, int e, const char *b), (d, a, e, b), e, b)
CHANGES_PATH(renameat2, (int d, const char *a, int e, const char *b, unsigned f), (d, a, e, b, f), e, b)
CHANGES_PATH(link, (const char *a, const char *b), (a, b), AT_FDCWD, b)
CHANGES_PATH(linkat, (int d, const char *a, int e, const char *b, int f), (d, a, e, b, f), e, b)
CHANGES_PATH(symlink, (const char *a, const char *b), (a, b), AT_FDCWD, b)
CHANGES_PATH(symlinkat, (const char *a, int e, const char *b), (a, e, b), e, b)
CHANGES_PATH(unlink, (const char *a), (a), AT_FDCWD, a)
CHANGES_PATH(unlinkat, (int d, const char *a, int f), (d, a, f), d, a)
CHANGES_PATH(rmdir, (const char *a), (a), AT_FDCWD, a)
CHANGES_PATH(mkdir, (const char *a, mode_t m), (a, m), AT_FDCWD, a)
CHANGES_PATH(mkdirat, (int d, const char *a, mode_t m), (d, a, m), d, a)

#define CHANGES_FILE(name, parameters, arguments)                                                                     \
    int name parameters { REAL(name); return strike(known_file(descriptor), 0) ? -1 : real arguments; }

CHANGES_FILE(fsync, (int descriptor), (descriptor))
CHANGES_FILE(fdatasync, (int descriptor), (descriptor))
CHANGES_FILE(ftruncate, (int descriptor, off_t size), (descriptor, size))
CHANGES_FILE(ftruncate64, (int descriptor, off64_t size), (descriptor, size))
CHANGES_FILE(fallocate, (int descriptor, int how, off_t from, off_t size), (descriptor, how, from, size))
CHANGES_FILE(fallocate64, (int descriptor, int how, off64_t from, off64_t size), (descriptor, how, from, size))

#define OPENS(name, directory, parameters, arguments)                                                                 \
    int name parameters {                                                                                             \
        REAL(name);                                                                                                   \
        mode_t mode_bits = 0;                                                                                         \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                                          \
            va_list rest;                                                                                             \
            va_start(rest, flags);                                                                                    \
            mode_bits = va_arg(rest, mode_t);                                                                         \
            va_end(rest);                                                                                             \
        }                                                                                                             \
        int changes = flags & (O_CREAT | O_TRUNC);                                                                    \
        return changes && strike(known_path(directory, path), 0) ? -1 : real arguments;                               \
    }

OPENS(open, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode_bits))
OPENS(open64, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode_bits))
OPENS(openat, directory, (int directory, const char *path, int flags, ...), (directory, path, flags, mode_bits))
OPENS(openat64, directory, (int directory, const char *path, int flags, ...), (directory, path, flags, mode_bits))

#define WRITES(name, parameters, whole, half)                                                                         \
    ssize_t name parameters {                                                                                         \
        REAL(name);                                                                                                   \
        switch (strike(known_file(descriptor), 1)) {                                                                  \
            case 0: return whole;                                                                                     \
            case 1: return -1;                                                                                        \
        }                                                                                                             \
        ssize_t done = half;                                                                                          \
        after_half();                                                                                                 \
        return done;                                                                                                  \
    }

WRITES(write, (int descriptor, const void *data, size_t size), real(descriptor, data, size),
       real(descriptor, data, (size + 1) / 2))
WRITES(pwrite, (int descriptor, const void *data, size_t size, off_t from), real(descriptor, data, size, from),
       real(descriptor, data, (size + 1) / 2, from))
WRITES(pwrite64, (int descriptor, const void *data, size_t size, off64_t from), real(descriptor, data, size, from),
       real(descriptor, data, (size + 1) / 2, from))
WRITES(writev, (int descriptor, const struct iovec *parts, int number), real(descriptor, parts, number),
       real(descriptor, parts, (number + 1) / 2))
WRITES(pwritev, (int descriptor, const struct iovec *parts, int number, off_t from),
       real(descriptor, parts, number, from), real(descriptor, parts, (number + 1) / 2, from))
WRITES(pwritev64, (int descriptor, const struct iovec *parts, int number, off64_t from),
       real(descriptor, parts, number, from), real(descriptor, parts, (number + 1) / 2, from))
WRITES(sendfile64, (int descriptor, int source, off64_t *from, size_t size), real(descriptor, source, from, size),
       real(descriptor, source, from, (size + 1) / 2))
WRITES(copy_file_range, (int source, off64_t *from, int descriptor, off64_t *to, size_t size, unsigned flags),
       real(source, from, descriptor, to, size, flags), real(source, from, descriptor, to, (size + 1) / 2, flags))
