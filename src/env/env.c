#include "env/env.h"

#include "base/mem.h"

/* ---- disk ------------------------------------------------------------------------------ */

enum err disk_open(struct disk *disk, const char *path, unsigned flags, struct file **out,
                   struct errbuf *why)
{
    ASSERT((flags & (FILE_READ | FILE_WRITE)) != 0);
    ASSERT((flags & FILE_EXCLUSIVE) == 0 || (flags & FILE_CREATE) != 0);
    ASSERT((flags & (FILE_CREATE | FILE_TRUNCATE)) == 0 || (flags & FILE_WRITE) != 0);
    return disk->ops->open(disk, path, flags, out, why);
}

enum err disk_rename(struct disk *disk, const char *from, const char *to, struct errbuf *why)
{
    return disk->ops->rename(disk, from, to, why);
}

enum err disk_unlink(struct disk *disk, const char *path, struct errbuf *why)
{
    return disk->ops->unlink(disk, path, why);
}

enum err disk_mkdir(struct disk *disk, const char *path, uint32_t mode, struct errbuf *why)
{
    return disk->ops->mkdir(disk, path, mode, why);
}

/* Makes one directory unless it is there already. */
static enum err ensure_dir(struct disk *disk, const char *path, uint32_t mode, struct errbuf *why)
{
    struct file_info info;
    if (disk_stat(disk, path, &info, NULL) == ERR_OK) {
        return info.is_dir ? ERR_OK : errf(why, ERR_EXISTS, "mkdir %s: not a directory", path);
    }
    enum err err = disk_mkdir(disk, path, mode, why);
    if (err == ERR_EXISTS && disk_stat(disk, path, &info, NULL) == ERR_OK && info.is_dir) {
        return ERR_OK; /* somebody else was faster */
    }
    return err;
}

enum err disk_mkdir_all(struct disk *disk, const char *path, uint32_t mode, struct errbuf *why)
{
    char *copy = mem_strdup(path);
    enum err err = ERR_OK;
    for (char *at = copy; *at != '\0' && err == ERR_OK; at++) {
        if (*at == '/' && at != copy && at[-1] != '/' && at[1] != '\0') {
            *at = '\0';
            err = ensure_dir(disk, copy, mode, why);
            *at = '/';
        }
    }
    if (err == ERR_OK) {
        err = ensure_dir(disk, copy, mode, why);
    }
    mem_free(copy);
    return err;
}

enum err disk_rmdir(struct disk *disk, const char *path, struct errbuf *why)
{
    return disk->ops->rmdir(disk, path, why);
}

enum err disk_sync_dir(struct disk *disk, const char *path, struct errbuf *why)
{
    return disk->ops->sync_dir(disk, path, why);
}

enum err disk_list(struct disk *disk, const char *path, void (*each)(const char *name, void *ctx),
                   void *ctx, struct errbuf *why)
{
    return disk->ops->list(disk, path, each, ctx, why);
}

enum err disk_stat(struct disk *disk, const char *path, struct file_info *out, struct errbuf *why)
{
    return disk->ops->stat(disk, path, out, why);
}

bool disk_exists(struct disk *disk, const char *path)
{
    struct file_info info;
    return disk_stat(disk, path, &info, NULL) == ERR_OK;
}

enum err disk_chmod(struct disk *disk, const char *path, uint32_t mode, struct errbuf *why)
{
    return disk->ops->chmod(disk, path, mode, why);
}

/* Appends the file's bytes to `out` until its end or until more than `limit` are there. */
static enum err read_whole(struct file *file, size_t limit, struct buf *out, struct errbuf *why)
{
    uint64_t size;
    TRY(file_size(file, &size, why));
    size_t start = out->len;
    for (;;) {
        size_t have = out->len - start;
        if (size > limit || have > limit) {
            return errf(why, ERR_TOO_LARGE, "%s: larger than %zu bytes", file->path, limit);
        }
        /* One byte more than expected, so that the end shows in the first read. */
        size_t room = size >= have ? (size_t)size - have + 1 : 4096;
        uint8_t *target = buf_reserve(out, room);
        size_t got;
        TRY(file_pread(file, target, room, have, &got, why));
        out->len += got;
        if (got < room) {
            return out->len - start > limit
                       ? errf(why, ERR_TOO_LARGE, "%s: larger than %zu bytes", file->path, limit)
                       : ERR_OK;
        }
    }
}

enum err disk_read_file(struct disk *disk, const char *path, size_t limit, struct buf *out,
                        struct errbuf *why)
{
    struct file *file;
    TRY(disk_open(disk, path, FILE_READ, &file, why));
    size_t start = out->len;
    enum err err = read_whole(file, limit, out, why);
    if (err != ERR_OK) {
        out->len = start;
    }
    file_close(&file);
    return err;
}

enum err disk_write_file(struct disk *disk, const char *path, struct slice data, struct errbuf *why)
{
    struct file *file;
    TRY(disk_open(disk, path, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &file, why));
    enum err err = file_pwrite(file, data.data, data.len, 0, why);
    if (err == ERR_OK) {
        err = file_sync(file, why);
    }
    file_close(&file);
    return err;
}

enum err file_pread(struct file *file, void *data, size_t len, uint64_t offset, size_t *n_out,
                    struct errbuf *why)
{
    return file->disk->ops->pread(file, data, len, offset, n_out, why);
}

enum err file_pread_all(struct file *file, void *data, size_t len, uint64_t offset,
                        struct errbuf *why)
{
    size_t got;
    TRY(file_pread(file, data, len, offset, &got, why));
    ASSERT(got <= len);
    if (got < len) {
        return errf(why, ERR_EOF, "read %s: only %zu of %zu bytes at offset %llu", file->path, got,
                    len, (unsigned long long)offset);
    }
    return ERR_OK;
}

enum err file_pwrite(struct file *file, const void *data, size_t len, uint64_t offset,
                     struct errbuf *why)
{
    return len == 0 ? ERR_OK : file->disk->ops->pwrite(file, data, len, offset, why);
}

enum err file_preallocate(struct file *file, uint64_t len, struct errbuf *why)
{
    return len == 0 ? ERR_OK : file->disk->ops->preallocate(file, len, why);
}

enum err file_next_data(struct file *file, uint64_t from, uint64_t *out, struct errbuf *why)
{
    if (file->disk->ops->next_data == NULL) {
        *out = from;
        return ERR_OK;
    }
    return file->disk->ops->next_data(file, from, out, why);
}

enum err file_truncate(struct file *file, uint64_t len, struct errbuf *why)
{
    return file->disk->ops->truncate(file, len, why);
}

enum err file_sync(struct file *file, struct errbuf *why)
{
    return file->disk->ops->sync(file, why);
}

enum err file_sync_data(struct file *file, struct errbuf *why)
{
    return file->disk->ops->sync_data(file, why);
}

enum err file_size(struct file *file, uint64_t *out, struct errbuf *why)
{
    return file->disk->ops->size(file, out, why);
}

enum err file_lock(struct file *file, enum file_lock kind, struct errbuf *why)
{
    return file->disk->ops->lock(file, kind, why);
}

enum err file_map(struct file *file, uint64_t len, const uint8_t **out, struct errbuf *why)
{
    ASSERT(len > 0);
    return file->disk->ops->map(file, len, out, why);
}

void file_unmap(struct file *file, const uint8_t *base, uint64_t len)
{
    ASSERT(len > 0);
    file->disk->ops->unmap(file, base, len);
}

void file_map_forget(struct file *file, const uint8_t *base, uint64_t len)
{
    ASSERT(len > 0);
    file->disk->ops->map_forget(file, base, len);
}

void file_close(struct file **file)
{
    if (*file != NULL) {
        (*file)->disk->ops->close(*file);
        *file = NULL;
    }
}

/* ---- threads --------------------------------------------------------------------------- */

void executor_submit(struct executor *executor, struct job *job)
{
    ASSERT(job->run != NULL);
    ASSERT(job->done != NULL);
    executor->ops->submit(executor, job);
}

void executor_close(struct executor **executor)
{
    struct executor *closing = *executor;
    *executor = NULL;
    if (closing != NULL) {
        closing->ops->close(closing);
    }
}

/* ---- sockets ---------------------------------------------------------------------------- */

enum err net_listen(struct net *net, const char *host, const char *port,
                    const struct listen_options *options, accept_fn *accept, void *ctx,
                    struct listener **out, struct errbuf *why)
{
    static const struct listen_options defaults;
    ASSERT(accept != NULL);
    return net->ops->listen(net, host, port, options == NULL ? &defaults : options, accept, ctx,
                            out, why);
}

void listener_close(struct listener **listener)
{
    struct listener *closing = *listener;
    *listener = NULL;
    if (closing != NULL) {
        closing->net->ops->listener_close(closing);
    }
}

void listener_pause(struct listener *listener, bool paused)
{
    listener->net->ops->listener_pause(listener, paused);
}

void listener_addr(const struct listener *listener, struct sock_addr *out)
{
    listener->net->ops->listener_addr(listener, out);
}

struct dial *net_connect(struct net *net, const char *host, const char *port, connect_fn *fn,
                         void *ctx)
{
    ASSERT(fn != NULL);
    return net->ops->connect(net, host, port, fn, ctx);
}

void net_connect_cancel(struct dial **dial)
{
    struct dial *canceled = *dial;
    *dial = NULL;
    if (canceled != NULL) {
        canceled->net->ops->connect_cancel(canceled);
    }
}

void sock_set_handler(struct sock *sock, const struct sock_handler *handler, void *ctx)
{
    ASSERT(handler != NULL);
    sock->net->ops->set_handler(sock, handler, ctx);
}

enum err sock_read(struct sock *sock, void *data, size_t len, size_t *n_out)
{
    ASSERT(len > 0);
    return sock->net->ops->read(sock, data, len, n_out);
}

enum err sock_writev(struct sock *sock, const struct iov *iov, size_t count, size_t *n_out)
{
    ASSERT(count > 0);
    return sock->net->ops->writev(sock, iov, count, n_out);
}

void sock_want_read(struct sock *sock, bool wanted)
{
    sock->net->ops->want_read(sock, wanted);
}

void sock_want_write(struct sock *sock, bool wanted)
{
    sock->net->ops->want_write(sock, wanted);
}

void sock_shutdown(struct sock *sock)
{
    sock->net->ops->shutdown(sock);
}

void sock_close(struct sock **sock)
{
    struct sock *closing = *sock;
    *sock = NULL;
    if (closing != NULL) {
        closing->net->ops->close(closing);
    }
}

/* ---- the world --------------------------------------------------------------------------- */

mono_ns env_now_mono(struct env *env)
{
    return env->ops->now_mono(env);
}

wall_ns env_now_wall(struct env *env)
{
    return env->ops->now_wall(env);
}

void env_random(struct env *env, void *out, size_t len)
{
    env->ops->random(env, out, len);
}

uint64_t env_random_u64(struct env *env)
{
    uint64_t value;
    env_random(env, &value, sizeof(value));
    return value;
}

struct executor *env_executor_new(struct env *env, const char *name, unsigned threads)
{
    ASSERT(threads > 0);
    return env->ops->executor_new(env, name, threads);
}

void env_poll(struct env *env, mono_ns until)
{
    env->ops->poll(env, until);
}

void env_wake(struct env *env)
{
    env->ops->wake(env);
}
