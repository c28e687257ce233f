#include "storage/bolt_double.h"

#include "base/mem.h"
#include <stdio.h>

static struct bolt_double *disk_of(struct file *file)
{
    return CONTAINER_OF(file, struct bolt_double, file);
}

static enum err double_open(struct disk *disk, const char *path, unsigned flags, struct file **out,
                            struct errbuf *why)
{
    UNUSED(path);
    UNUSED(flags);
    UNUSED(why);
    *out = &CONTAINER_OF(disk, struct bolt_double, disk)->file;
    return ERR_OK;
}

static enum err double_sync_dir(struct disk *disk, const char *path, struct errbuf *why)
{
    UNUSED(disk);
    UNUSED(path);
    UNUSED(why);
    return ERR_OK;
}

static enum err double_pread(struct file *file, void *data, size_t len, uint64_t offset,
                             size_t *n_out, struct errbuf *why)
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

static enum err double_pwrite(struct file *file, const void *data, size_t len, uint64_t offset,
                              struct errbuf *why)
{
    UNUSED(why);
    struct buf *live = &disk_of(file)->live;
    extend(live, offset + len);
    memcpy(live->data + offset, data, len);
    return ERR_OK;
}

static enum err double_preallocate(struct file *file, uint64_t len, struct errbuf *why)
{
    UNUSED(why);
    extend(&disk_of(file)->live, len);
    return ERR_OK;
}

static enum err double_sync(struct file *file, struct errbuf *why)
{
    UNUSED(file);
    UNUSED(why);
    return ERR_OK;
}

static enum err double_size(struct file *file, uint64_t *out, struct errbuf *why)
{
    UNUSED(why);
    *out = disk_of(file)->live.len;
    return ERR_OK;
}

static enum err double_lock(struct file *file, enum file_lock kind, struct errbuf *why)
{
    UNUSED(file);
    UNUSED(kind);
    UNUSED(why);
    return ERR_OK;
}

static enum err double_map(struct file *file, uint64_t len, const uint8_t **out, struct errbuf *why)
{
    UNUSED(file);
    UNUSED(len);
    UNUSED(out);
    UNUSED(why);
    return ERR_UNSUPPORTED;
}

static void double_close(struct file *file)
{
    UNUSED(file);
}

static const struct disk_ops double_ops = {
    .open = double_open,
    .sync_dir = double_sync_dir,
    .pread = double_pread,
    .pwrite = double_pwrite,
    .preallocate = double_preallocate,
    .sync = double_sync,
    .sync_data = double_sync,
    .size = double_size,
    .lock = double_lock,
    .map = double_map,
    .close = double_close,
};

struct bolt_double *bolt_double_new(void)
{
    struct bolt_double *d = NEW(struct bolt_double);
    snprintf(d->path, sizeof(d->path), "db");
    d->disk.ops = &double_ops;
    d->file = (struct file){.disk = &d->disk, .path = d->path};
    return d;
}

void bolt_double_free(struct bolt_double **d)
{
    if (*d != NULL) {
        buf_fini(&(*d)->live);
        mem_free(*d);
        *d = NULL;
    }
}
