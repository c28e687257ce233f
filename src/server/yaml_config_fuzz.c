/* Files of any bytes through the whole of config_load(), on a disk that has just this one file.
 *
 * Property: the outcome is a configuration whose invariants hold, or an exit with status 1 and
 * something said. */
#include "server/config.h"

#include "codec/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- a disk with one file
 * ------------------------------------------------------------------------ */

struct one_disk {
    struct disk disk;
    struct slice content;
};

struct one_file {
    struct file file;
    struct slice content;
};

static enum err one_open(struct disk *disk, const char *path, unsigned flags, struct file **out,
                         struct errbuf *why)
{
    struct one_disk *one = CONTAINER_OF(disk, struct one_disk, disk);
    if (strcmp(path, "file") != 0 || (flags & FILE_WRITE) != 0) {
        return errf(why, ERR_NOT_FOUND, "open %s: no such file or directory", path);
    }
    struct one_file *file = NEW(struct one_file);
    file->file = (struct file){.disk = disk, .path = mem_strdup(path)};
    file->content = one->content;
    *out = &file->file;
    return ERR_OK;
}

static enum err one_pread(struct file *file, void *data, size_t len, uint64_t offset, size_t *n_out,
                          struct errbuf *why)
{
    UNUSED(why);
    struct slice content = CONTAINER_OF(file, struct one_file, file)->content;
    size_t at = offset < content.len ? (size_t)offset : content.len;
    size_t left = content.len - at;
    *n_out = len < left ? len : left;
    if (*n_out > 0) {
        memcpy(data, content.data + at, *n_out);
    }
    return ERR_OK;
}

static enum err one_size(struct file *file, uint64_t *out, struct errbuf *why)
{
    UNUSED(why);
    *out = CONTAINER_OF(file, struct one_file, file)->content.len;
    return ERR_OK;
}

static enum err one_stat(struct disk *disk, const char *path, struct file_info *out,
                         struct errbuf *why)
{
    struct one_disk *one = CONTAINER_OF(disk, struct one_disk, disk);
    if (strcmp(path, "file") != 0) {
        return errf(why, ERR_NOT_FOUND, "stat %s: no such file or directory", path);
    }
    *out = (struct file_info){.size = one->content.len, .mode = 0600};
    return ERR_OK;
}

static void one_close(struct file *file)
{
    mem_free(file->path);
    mem_free(CONTAINER_OF(file, struct one_file, file));
}

static const struct disk_ops one_ops = {
    .open = one_open,
    .stat = one_stat,
    .pread = one_pread,
    .size = one_size,
    .close = one_close,
};

/* ---- the target
 * -------------------------------------------------------------------------------------- */

static int64_t clock_fn(void *ctx)
{
    UNUSED(ctx);
    return 0;
}

static void count(void *ctx, enum log_level level, struct slice text)
{
    UNUSED(level);
    *(size_t *)ctx += text.len;
}

static void check_config(const struct config *config)
{
    struct url_map map;
    struct errbuf why = {{0}};
    ASSERT(config->data_dir[0] != 0);
    ASSERT(config->heartbeat_ms > 0);
    ASSERT(config->election_ticks >= 5);
    ASSERT(config->listen_peer_urls.count > 0);
    ASSERT(config->listen_client_urls.count > 0);
    ASSERT(config_quota(config) > 0);
    ASSERT(config->compact_hash_check_time_ns > 0);
    if (config_bootstrap(config, &map, &why) != ERR_OK) {
        ASSERT(why.text[0] != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const argv[] = {"etcd", "--config-file=file"};
    struct one_disk one = {.disk = {&one_ops}, .content = slice_of(data, size)};
    size_t said = 0;
    struct config_input in = {
        .argc = 2,
        .argv = argv,
        .disk = &one.disk,
        .clock = clock_fn,
        .standard_out = {count, &said},
        .standard_error = {count, &said},
    };
    struct config *config;
    int status;
    if (config_load(&in, &config, &status) == CONFIG_RUN) {
        check_config(config);
        config_free(&config);
    } else {
        ASSERT(status == 1);
        ASSERT(said > 0);
    }
    return 0;
}
