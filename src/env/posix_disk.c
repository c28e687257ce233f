/* Files of the real world. Stateless: one static disk serves every env and every thread. */
#include "base/mem.h"
#include "env/posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct posix_file {
    struct file file;
    int fd;
};

static struct posix_file *file_of(struct file *file)
{
    return CONTAINER_OF(file, struct posix_file, file);
}

static enum err fail(struct errbuf *why, const char *what, const char *path)
{
    return err_from_errno(why, errno, what, path);
}

static enum err fail_file(struct errbuf *why, const char *what, const struct file *file)
{
    return err_from_errno(why, errno, what, file->path);
}

static int open_flags(unsigned flags)
{
    int mode = O_CLOEXEC | O_NOCTTY;
    if ((flags & FILE_WRITE) == 0) {
        mode |= O_RDONLY;
    } else {
        mode |= (flags & FILE_READ) != 0 ? O_RDWR : O_WRONLY;
    }
    mode |= (flags & FILE_CREATE) != 0 ? O_CREAT : 0;
    mode |= (flags & FILE_EXCLUSIVE) != 0 ? O_EXCL : 0;
    mode |= (flags & FILE_TRUNCATE) != 0 ? O_TRUNC : 0;
    return mode;
}

static int open_retrying(const char *path, int flags)
{
    int fd;
    do {
        fd = open(path, flags, 0600);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static enum err disk_open_file(struct disk *disk, const char *path, unsigned flags,
                               struct file **out, struct errbuf *why)
{
    int fd = open_retrying(path, open_flags(flags));
    if (fd < 0) {
        return fail(why, "open", path);
    }
    struct posix_file *file = NEW(struct posix_file);
    file->file.disk = disk;
    file->file.path = mem_strdup(path);
    file->fd = fd;
    *out = &file->file;
    return ERR_OK;
}

static enum err rename_path(struct disk *disk, const char *from, const char *to, struct errbuf *why)
{
    if (rename(from, to) == 0) {
        return ERR_OK;
    }
    int reason = errno;
    char *both = mem_printf("%s to %s", from, to);
    enum err err = err_from_errno(why, reason, "rename", both);
    mem_free(both);
    return err;
}

static enum err unlink_path(struct disk *disk, const char *path, struct errbuf *why)
{
    return unlink(path) == 0 ? ERR_OK : fail(why, "unlink", path);
}

static enum err make_dir(struct disk *disk, const char *path, uint32_t mode, struct errbuf *why)
{
    return mkdir(path, mode) == 0 ? ERR_OK : fail(why, "mkdir", path);
}

static enum err remove_dir(struct disk *disk, const char *path, struct errbuf *why)
{
    return rmdir(path) == 0 ? ERR_OK : fail(why, "rmdir", path);
}

static int sync_retrying(int fd, int (*sync_fn)(int))
{
    int failed;
    do {
        failed = sync_fn(fd);
    } while (failed != 0 && errno == EINTR);
    return failed;
}

/* What a sync could not write is lost, whatever the reason: also a full disk that is met only here
 * (where file systems allocate late, or behind a quota of the network's) is no ERR_NOSPACE, which
 * would say that one may try again. */
static enum err fail_sync(struct errbuf *why, const char *what, const char *path)
{
    enum err err = fail(why, what, path);
    return err == ERR_NOSPACE ? ERR_IO : err;
}

static enum err sync_dir(struct disk *disk, const char *path, struct errbuf *why)
{
    int fd = open_retrying(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return fail(why, "open", path);
    }
    enum err err = sync_retrying(fd, fsync) == 0 ? ERR_OK : fail_sync(why, "fsync", path);
    close(fd);
    return err;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct names {
    char **names;
    size_t count;
    size_t cap;
};

static void names_add(struct names *list, const char *name)
{
    if (list->count == list->cap) {
        list->cap = list->cap == 0 ? 32 : list->cap * 2;
        list->names = mem_realloc(list->names, list->cap * sizeof(char *));
    }
    list->names[list->count++] = mem_strdup(name);
}

static enum err read_names(const char *path, struct names *out, struct errbuf *why)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return fail(why, "open", path);
    }
    enum err err = ERR_OK;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            err = errno == 0 ? ERR_OK : fail(why, "readdir", path);
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            names_add(out, entry->d_name);
        }
    }
    closedir(dir);
    return err;
}

static enum err list_dir(struct disk *disk, const char *path,
                         void (*each)(const char *name, void *ctx), void *ctx, struct errbuf *why)
{
    struct names names = {0};
    enum err err = read_names(path, &names, why);
    if (names.count > 0) {
        qsort(names.names, names.count, sizeof(char *), compare_names);
    }
    for (size_t i = 0; i < names.count; i++) {
        if (err == ERR_OK) {
            each(names.names[i], ctx);
        }
        mem_free(names.names[i]);
    }
    mem_free(names.names);
    return err;
}

static enum err stat_path(struct disk *disk, const char *path, struct file_info *out,
                          struct errbuf *why)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return fail(why, "stat", path);
    }
    *out = (struct file_info){
        .size = (uint64_t)info.st_size,
        .mode = info.st_mode & 07777,
        .is_dir = S_ISDIR(info.st_mode),
    };
    return ERR_OK;
}

static enum err chmod_path(struct disk *disk, const char *path, uint32_t mode, struct errbuf *why)
{
    return chmod(path, mode) == 0 ? ERR_OK : fail(why, "chmod", path);
}

static enum err pread_file(struct file *file, void *data, size_t len, uint64_t offset,
                           size_t *n_out, struct errbuf *why)
{
    size_t total = 0;
    while (total < len) {
        ssize_t got =
            pread(file_of(file)->fd, (uint8_t *)data + total, len - total, (off_t)(offset + total));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return fail_file(why, "read", file);
        }
        if (got == 0) {
            break;
        }
        total += (size_t)got;
    }
    *n_out = total;
    return ERR_OK;
}

static enum err pwrite_file(struct file *file, const void *data, size_t len, uint64_t offset,
                            struct errbuf *why)
{
    size_t total = 0;
    while (total < len) {
        ssize_t put = pwrite(file_of(file)->fd, (const uint8_t *)data + total, len - total,
                             (off_t)(offset + total));
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return fail_file(why, "write", file);
        }
        total += (size_t)put;
    }
    return ERR_OK;
}

static enum err truncate_file(struct file *file, uint64_t len, struct errbuf *why)
{
    int failed;
    do {
        failed = ftruncate(file_of(file)->fd, (off_t)len);
    } while (failed != 0 && errno == EINTR);
    return failed == 0 ? ERR_OK : fail_file(why, "truncate", file);
}

static enum err size_of_file(struct file *file, uint64_t *out, struct errbuf *why)
{
    struct stat info;
    if (fstat(file_of(file)->fd, &info) != 0) {
        return fail_file(why, "stat", file);
    }
    *out = (uint64_t)info.st_size;
    return ERR_OK;
}

static enum err next_data_of_file(struct file *file, uint64_t from, uint64_t *out,
                                  struct errbuf *why)
{
    off_t at = lseek(file_of(file)->fd, (off_t)from, SEEK_DATA);
    if (at >= 0) {
        *out = (uint64_t)at;
        return ERR_OK;
    }
    if (errno == ENXIO) { /* nothing but holes, or behind the end */
        return size_of_file(file, out, why);
    }
    if (errno == EINVAL || errno == EOPNOTSUPP) {
        *out = from;
        return ERR_OK;
    }
    return fail_file(why, "lseek", file);
}

/* Where the file system cannot allocate ahead, only the size grows, as etcd does. */
static enum err preallocate_file(struct file *file, uint64_t len, struct errbuf *why)
{
    int failed;
    do {
        failed = fallocate(file_of(file)->fd, 0, 0, (off_t)len);
    } while (failed != 0 && errno == EINTR);
    if (failed == 0) {
        return ERR_OK;
    }
    if (errno != EOPNOTSUPP && errno != ENOSYS) {
        return fail_file(why, "fallocate", file);
    }
    uint64_t size;
    TRY(size_of_file(file, &size, why));
    return size >= len ? ERR_OK : truncate_file(file, len, why);
}

static enum err sync_file(struct file *file, struct errbuf *why)
{
    return sync_retrying(file_of(file)->fd, fsync) == 0 ? ERR_OK
                                                        : fail_sync(why, "fsync", file->path);
}

static enum err sync_file_data(struct file *file, struct errbuf *why)
{
    return sync_retrying(file_of(file)->fd, fdatasync) == 0
               ? ERR_OK
               : fail_sync(why, "fdatasync", file->path);
}

static int lock_fd(int fd, enum file_lock kind)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    switch (kind) {
    case FILE_LOCK_FLOCK_EXCLUSIVE:
        return flock(fd, LOCK_EX | LOCK_NB);
    case FILE_LOCK_FLOCK_SHARED:
        return flock(fd, LOCK_SH | LOCK_NB);
    case FILE_LOCK_OFD_EXCLUSIVE:
        return fcntl(fd, F_OFD_SETLK, &whole);
    }
    UNREACHABLE();
}

static enum err lock_file(struct file *file, enum file_lock kind, struct errbuf *why)
{
    int failed;
    do {
        failed = lock_fd(file_of(file)->fd, kind);
    } while (failed != 0 && errno == EINTR);
    if (failed == 0) {
        return ERR_OK;
    }
    if (errno == EAGAIN || errno == EACCES) {
        return errf(why, ERR_LOCKED, "lock %s: another process holds it", file->path);
    }
    return fail_file(why, "lock", file);
}

static enum err map_file(struct file *file, uint64_t len, const uint8_t **out, struct errbuf *why)
{
    void *base = mmap(NULL, len, PROT_READ, MAP_SHARED, file_of(file)->fd, 0);
    if (base == MAP_FAILED) {
        return fail_file(why, "mmap", file);
    }
    *out = base;
    return ERR_OK;
}

static void unmap_file(struct file *file, const uint8_t *base, uint64_t len)
{
    /* munmap's argument is not const; the mapping is ours to end. */
    int failed = munmap((void *)(uintptr_t)base, len);
    ASSERT(failed == 0);
}

/* Only advice: where it is not heeded, memory is all that is lost. */
static void forget_map(struct file *file, const uint8_t *base, uint64_t len)
{
    (void)madvise((void *)(uintptr_t)base, len, MADV_DONTNEED);
}

static void close_file(struct file *file)
{
    close(file_of(file)->fd);
    mem_free(file->path);
    mem_free(file_of(file));
}

static const struct disk_ops posix_disk_ops = {
    .open = disk_open_file,
    .rename = rename_path,
    .unlink = unlink_path,
    .mkdir = make_dir,
    .rmdir = remove_dir,
    .sync_dir = sync_dir,
    .list = list_dir,
    .stat = stat_path,
    .chmod = chmod_path,
    .pread = pread_file,
    .pwrite = pwrite_file,
    .preallocate = preallocate_file,
    .next_data = next_data_of_file,
    .truncate = truncate_file,
    .sync = sync_file,
    .sync_data = sync_file_data,
    .size = size_of_file,
    .lock = lock_file,
    .map = map_file,
    .unmap = unmap_file,
    .map_forget = forget_map,
    .close = close_file,
};

struct disk *posix_disk(void)
{
    static struct disk disk = {.ops = &posix_disk_ops};
    return &disk;
}
