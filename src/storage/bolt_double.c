#include "storage/bolt_double.h"

#include "base/mem.h"
#include "storage/bolt_model.h"

#include <stdio.h>

#define SECTOR 512u

static struct bolt_double *disk_of(struct file *file)
{
    return CONTAINER_OF(file, struct bolt_double, file);
}

/* True when this call is to fail. */
static bool strikes(struct bolt_double *d)
{
    uint64_t call = d->calls++;
    return call == d->fail_at || (d->is_dead && call > d->fail_at);
}

static enum err cd_open(struct disk *disk, const char *path, unsigned flags, struct file **out,
                        struct errbuf *why)
{
    UNUSED(path);
    UNUSED(flags);
    UNUSED(why);
    *out = &CONTAINER_OF(disk, struct bolt_double, disk)->file;
    return ERR_OK;
}

static enum err cd_sync_dir(struct disk *disk, const char *path, struct errbuf *why)
{
    UNUSED(path);
    struct bolt_double *d = CONTAINER_OF(disk, struct bolt_double, disk);
    return strikes(d) ? errf(why, d->failure, "sync_dir fails") : ERR_OK;
}

static enum err cd_pread(struct file *file, void *data, size_t len, uint64_t offset, size_t *n_out,
                         struct errbuf *why)
{
    UNUSED(why);
    const struct buf *live = &disk_of(file)->live;
    size_t n = offset >= live->len ? 0 : live->len - (size_t)offset;
    n = n < len ? n : len;
    if (n > 0) {
        memcpy(data, live->data + offset, n);
    }
    *n_out = n;
    return ERR_OK;
}

static void extend(struct buf *buf, uint64_t len)
{
    if (len > buf->len) {
        size_t extra = (size_t)len - buf->len;
        memset(buf_extend(buf, extra), 0, extra);
    }
}

static enum err cd_pwrite(struct file *file, const void *data, size_t len, uint64_t offset,
                          struct errbuf *why)
{
    struct bolt_double *d = disk_of(file);
    bool is_struck = strikes(d);
    if (!is_struck || d->calls == d->fail_at + 1) {
        extend(&d->live, offset + len);
        memcpy(d->live.data + offset, data, len);
        if (d->pending_count == d->pending_cap) {
            d->pending_cap = d->pending_cap * 2 + 64;
            d->pending = mem_realloc(d->pending, d->pending_cap * sizeof(d->pending[0]));
        }
        d->pending[d->pending_count++] = (struct double_write){.offset = offset, .len = len};
    }
    return is_struck ? errf(why, d->failure, "pwrite fails") : ERR_OK;
}

static enum err cd_preallocate(struct file *file, uint64_t len, struct errbuf *why)
{
    struct bolt_double *d = disk_of(file);
    if (strikes(d)) {
        return errf(why, d->failure, "preallocate fails");
    }
    extend(&d->live, len);
    return ERR_OK;
}

static enum err cd_sync(struct file *file, struct errbuf *why)
{
    struct bolt_double *d = disk_of(file);
    if (strikes(d)) {
        return errf(why, d->failure, "sync fails");
    }
    buf_reset(&d->durable);
    buf_append_slice(&d->durable, buf_slice(&d->live));
    d->pending_count = 0;
    return ERR_OK;
}

static enum err cd_size(struct file *file, uint64_t *out, struct errbuf *why)
{
    UNUSED(why);
    *out = disk_of(file)->live.len;
    return ERR_OK;
}

static enum err cd_lock(struct file *file, enum file_lock kind, struct errbuf *why)
{
    UNUSED(file);
    UNUSED(kind);
    UNUSED(why);
    return ERR_OK;
}

static enum err cd_map(struct file *file, uint64_t len, const uint8_t **out, struct errbuf *why)
{
    UNUSED(file);
    UNUSED(len);
    UNUSED(out);
    UNUSED(why);
    return ERR_UNSUPPORTED;
}

static void cd_close(struct file *file)
{
    UNUSED(file);
}

static const struct disk_ops crash_ops = {
    .open = cd_open,
    .sync_dir = cd_sync_dir,
    .pread = cd_pread,
    .pwrite = cd_pwrite,
    .preallocate = cd_preallocate,
    .sync = cd_sync,
    .sync_data = cd_sync,
    .size = cd_size,
    .lock = cd_lock,
    .map = cd_map,
    .close = cd_close,
};

struct bolt_double *bolt_double_new(uint64_t fail_at, bool is_dead, enum err failure)
{
    struct bolt_double *d = NEW(struct bolt_double);
    snprintf(d->path, sizeof(d->path), "db");
    d->disk.ops = &crash_ops;
    d->file = (struct file){.disk = &d->disk, .path = d->path};
    d->fail_at = fail_at;
    d->is_dead = is_dead;
    d->failure = failure;
    return d;
}

void bolt_double_free(struct bolt_double **d)
{
    if (*d != NULL) {
        buf_fini(&(*d)->live);
        buf_fini(&(*d)->durable);
        mem_free((*d)->pending);
        mem_free(*d);
        *d = NULL;
    }
}

struct bolt_double *bolt_double_crash(const struct bolt_double *d, struct model_random *random)
{
    struct bolt_double *after = bolt_double_new(UINT64_MAX, false, ERR_OK);
    buf_append_slice(&after->live, buf_slice(&d->durable));
    if (model_random_below(random, 2) == 0) {
        extend(&after->live, d->live.len);
    }
    for (size_t i = 0; i < d->pending_count; i++) {
        const struct double_write *p = &d->pending[i];
        for (uint64_t at = p->offset; at < p->offset + p->len; at += SECTOR) {
            if (model_random_below(random, 2) == 0 && at + SECTOR <= d->live.len) {
                extend(&after->live, at + SECTOR);
                memcpy(after->live.data + at, d->live.data + at, SECTOR);
            }
        }
    }
    buf_append_slice(&after->durable, buf_slice(&after->live));
    return after;
}
