/* A disk that fails on demand: preloaded into a server (LD_PRELOAD), it lets the nth of some calls
 * on files whose path contains a text fail.
 *
 *     BADFS=call:part:nth:errno      call: open pwrite fsync fdatasync fallocate ftruncate rename
 *     BADFS=short                    every pwrite and pread transfers half, after an EINTR
 *
 * What fails once does not fail again: a program that tries again would falsely succeed. A failed
 * pwrite has written half, up to the end of a page, which is where the kernel stops. Says on
 * standard error that it has struck. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long seen;

static void path_of(int fd, char *out, size_t size)
{
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, out, size - 1);
    out[len < 0 ? 0 : len] = '\0';
}

/* Is it this call's turn? Then errno is set. */
static bool strikes(const char *call, const char *path)
{
    const char *rule = getenv("BADFS");
    char name[32];
    char part[128];
    long nth;
    int error;
    if (rule == NULL || sscanf(rule, "%31[^:]:%127[^:]:%ld:%d", name, part, &nth, &error) != 4 ||
        strcmp(name, call) != 0 || strstr(path, part) == NULL || ++seen != nth) {
        return false;
    }
    fprintf(stderr, "badfs: %s %s fails with %d\n", call, path, error);
    errno = error;
    return true;
}

static bool strikes_fd(const char *call, int fd)
{
    int kept = errno;
    char path[4096];
    path_of(fd, path, sizeof(path));
    bool does = strikes(call, path);
    if (!does) {
        errno = kept;
    }
    return does;
}

static bool is_short(void)
{
    const char *rule = getenv("BADFS");
    return rule != NULL && strcmp(rule, "short") == 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    static atomic_uint turn;
    if (is_short() && turn++ % 2 == 0) {
        errno = EINTR;
        return -1;
    }
    if (strikes_fd("pwrite", fd)) {
        int error = errno;
        off_t end = (offset + (off_t)(len / 2)) / 4096 * 4096;
        if (end > offset) {
            (void)!REAL(pwrite)(fd, data, (size_t)(end - offset), offset);
        }
        errno = error;
        return -1;
    }
    return REAL(pwrite)(fd, data, is_short() && len > 1 ? len / 2 : len, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off_t offset)
{
    return pwrite(fd, data, len, offset);
}

ssize_t pread(int fd, void *data, size_t len, off_t offset)
{
    static atomic_uint turn;
    if (is_short() && turn++ % 2 == 0) {
        errno = EINTR;
        return -1;
    }
    return REAL(pread)(fd, data, is_short() && len > 1 ? len / 2 : len, offset);
}

ssize_t pread64(int fd, void *data, size_t len, off_t offset)
{
    return pread(fd, data, len, offset);
}

int fsync(int fd)
{
    return strikes_fd("fsync", fd) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    return strikes_fd("fdatasync", fd) ? -1 : REAL(fdatasync)(fd);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    return strikes_fd("fallocate", fd) ? -1 : REAL(fallocate)(fd, mode, offset, len);
}

int fallocate64(int fd, int mode, off_t offset, off_t len)
{
    return fallocate(fd, mode, offset, len);
}

int ftruncate(int fd, off_t len)
{
    return strikes_fd("ftruncate", fd) ? -1 : REAL(ftruncate)(fd, len);
}

int ftruncate64(int fd, off_t len)
{
    return ftruncate(fd, len);
}

int rename(const char *from, const char *to)
{
    return strikes("rename", to) ? -1 : REAL(rename)(from, to);
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int mode = va_arg(args, int);
    va_end(args);
    return strikes("open", path) ? -1 : REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int mode = va_arg(args, int);
    va_end(args);
    return open(path, flags, mode);
}
