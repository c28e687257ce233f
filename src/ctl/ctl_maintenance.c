/* defrag, snapshot save. */
#include "ctl/ctl_priv.h"

#include "base/digest.h"
#include "client/client_stream.h"
#include "codec/pb.h"
#include "ctl/print_priv.h"

/* ---- defrag ---------------------------------------------------------------------------------- */

int ctl__defrag_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    const char *const *endpoints = NULL;
    size_t count = 0;
    size_t failures = 0;
    int code = ctl__endpoints(ctl, call, &endpoints, &count);
    for (size_t i = 0; i < count && code == CTL_OK; i++) {
        Etcdserverpb__DefragmentRequest request = ETCDSERVERPB__DEFRAGMENT_REQUEST__INIT;
        struct ctl_rpc rpc = {.path = "/etcdserverpb.Maintenance/Defragment",
                              .request = &request,
                              .reply_type = &etcdserverpb__defragment_response__descriptor};
        code = ctl__ask(ctl, endpoints[i], &rpc);
        if (code == CTL_OK && rpc.reply != NULL) {
            buf_printf(&ctl->out, "Finished defragmenting etcd member[%s]\n", endpoints[i]);
        } else if (code == CTL_OK) {
            buf_printf(&ctl->err, "Failed to defragment etcd member[%s] (%s)\n", endpoints[i],
                       rpc.error);
            failures++;
        }
        ctl__flush(ctl);
    }
    return code == CTL_OK && failures > 0 ? CTL_ERROR : code;
}

/* ---- snapshot save --------------------------------------------------------------------------- */

/* The stream on its way into "<path>.part". The server ends with a digest of all before it. */
struct download {
    struct client_stream stream;
    struct ctl *ctl;
    struct file *file;
    uint64_t size;
    struct sha256 *sha;  /* of all but the last SHA256_LEN bytes */
    struct buf tail;     /* those */
    const char *version; /* "" until the server names its own */
    const char *error;   /* NULL: none */
    bool is_over;
};

static void take_bytes(struct download *download, struct slice bytes)
{
    struct errbuf why = {{0}};
    struct buf *tail = &download->tail;
    if (file_pwrite(download->file, bytes.data, bytes.len, download->size, &why) != ERR_OK) {
        download->error = arena_printf(&download->ctl->arena, "%s", why.text);
        download->is_over = true;
        return;
    }
    download->size += bytes.len;
    buf_append_slice(tail, bytes);
    if (tail->len > SHA256_LEN) {
        size_t settled = tail->len - SHA256_LEN;
        sha256_update(download->sha, tail->data, settled);
        buf_consume(tail, settled);
    }
}

static void on_message(struct client_stream *stream, struct slice bytes)
{
    struct download *download = CONTAINER_OF(stream, struct download, stream);
    struct arena arena;
    struct errbuf why = {{0}};
    void *decoded = NULL;
    if (download->is_over) {
        return;
    }
    arena_init(&arena);
    if (pb_decode(&arena, &etcdserverpb__snapshot_response__descriptor, bytes, &decoded, &why) ==
        ERR_OK) {
        const Etcdserverpb__SnapshotResponse *part = decoded;
        take_bytes(download, slice_of(part->blob.data, part->blob.len));
        if (download->version[0] == '\0' && part->version[0] != '\0') {
            download->version = arena_printf(&download->ctl->arena, "%s", part->version);
        }
    } else {
        download->error = arena_printf(&download->ctl->arena, "%s", why.text);
        download->is_over = true;
    }
    arena_fini(&arena);
}

static void on_end(struct client_stream *stream, const struct client_result *result)
{
    struct download *download = CONTAINER_OF(stream, struct download, stream);
    if (result->status != GRPC_OK && download->error == NULL) {
        download->error = arena_printf(&download->ctl->arena, "%s", result->error);
    }
    download->is_over = true;
}

static const struct client_stream_handler download_handler = {.message = on_message, .end = on_end};

/* What the file ends with must be the digest of what is before. */
static void check_digest(struct download *download)
{
    uint8_t digest[SHA256_LEN];
    struct arena *arena = &download->ctl->arena;
    /* Compatibility: pages are multiples of 512 bytes, so a digest shows in the size. */
    if (download->size % 512 != SHA256_LEN) {
        download->error = arena_printf(arena, "sha256 checksum not found [bytes: %llu]",
                                       (unsigned long long)download->size);
        return;
    }
    sha256_final(download->sha, digest);
    if (!slice_eq(slice_of(digest, sizeof(digest)), buf_slice(&download->tail))) {
        download->error = arena_printf(arena, "the snapshot arrived damaged: its sha256 does not "
                                              "match");
    }
}

static void fetch(struct download *download, mono_ns deadline)
{
    struct ctl *ctl = download->ctl;
    Etcdserverpb__SnapshotRequest request = ETCDSERVERPB__SNAPSHOT_REQUEST__INIT;
    download->stream = (struct client_stream){.path = "/etcdserverpb.Maintenance/Snapshot",
                                              .handler = &download_handler,
                                              .deadline = deadline};
    download->sha = sha256_new();
    download->version = "";
    client_stream_open(ctl->client, &download->stream);
    client_stream_send(&download->stream, pb_encode_arena(&request, &ctl->arena));
    client_stream_close_send(&download->stream);
    LOG_INFO(&ctl->log, "opened snapshot stream; downloading");
    ctl__wait(ctl, &download->is_over);
    client_stream_cancel(&download->stream);
    if (download->error == NULL) {
        LOG_INFO(&ctl->log, "completed snapshot read; closing");
        check_digest(download);
    }
    sha256_free(&download->sha);
    buf_fini(&download->tail);
}

static FALLIBLE sync_folder(struct disk *disk, const char *path, struct errbuf *why)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL   ? mem_strdup(".")
                   : slash == path ? mem_strdup("/")
                                   : mem_printf("%.*s", (int)(slash - path), path);
    enum err err = disk_sync_dir(disk, folder, why);
    mem_free(folder);
    return err;
}

static FALLIBLE keep_file(struct download *download, const char *part, const char *path,
                          struct errbuf *why)
{
    struct disk *disk = download->ctl->env->disk;
    TRY(file_sync(download->file, why));
    file_close(&download->file);
    TRY(disk_rename(disk, part, path, why));
    return sync_folder(disk, path, why);
}

static int save_failed(struct download *download, const char *part, const char *error)
{
    struct ctl *ctl = download->ctl;
    struct errbuf ignored;
    file_close(&download->file);
    (void)!disk_unlink(ctl->env->disk, part, &ignored);
    return ctl__fail_text(ctl, CTL_INTERRUPTED, slice_str(error));
}

/* Go's %v of the list of endpoints. */
static int not_one_endpoint(struct ctl *ctl)
{
    struct buf list = {0};
    for (size_t i = 0; i < ctl->options.endpoint_count; i++) {
        buf_printf(&list, "%s%s", i == 0 ? "" : " ", ctl->options.endpoints[i]);
    }
    int code = ctl__fail(ctl, CTL_INTERRUPTED,
                         "snapshot must be requested to one selected node, not multiple [%s]",
                         buf_cstr(&list));
    buf_fini(&list);
    return code;
}

static int save(struct ctl *ctl, const char *path, mono_ns deadline)
{
    struct errbuf why = {{0}};
    struct buf size = {0};
    struct download download = {.ctl = ctl};
    const char *part = arena_printf(&ctl->arena, "%s.part", path);
    const char *endpoint = ctl->options.endpoints[0];
    mono_ns began = env_now_mono(ctl->env);
    if (disk_open(ctl->env->disk, part, FILE_READ | FILE_WRITE | FILE_CREATE | FILE_TRUNCATE,
                  &download.file, &why) != ERR_OK) {
        return ctl__fail(ctl, CTL_INTERRUPTED, "could not open %s (%s)", part, why.text);
    }
    LOG_INFO(&ctl->log, "created temporary db file", log_str("path", part));
    LOG_INFO(&ctl->log, "fetching snapshot", log_str("endpoint", endpoint));
    fetch(&download, deadline);
    if (download.error != NULL) {
        return save_failed(&download, part, download.error);
    }
    print__humanize(download.size, &size);
    LOG_INFO(&ctl->log, "fetched snapshot", log_str("endpoint", endpoint),
             log_str("size", buf_cstr(&size)),
             log_duration("took", (int64_t)(env_now_mono(ctl->env) - began)),
             log_str("etcd-version", download.version));
    buf_fini(&size);
    if (keep_file(&download, part, path, &why) != ERR_OK) {
        return save_failed(&download, part, why.text);
    }
    LOG_INFO(&ctl->log, "saved", log_str("path", path));
    buf_printf(&ctl->out, "Snapshot saved at %s\n", path);
    if (download.version[0] != '\0') {
        buf_printf(&ctl->out, "Server version %s\n", download.version);
    }
    return CTL_OK;
}

/* Compatibility: no time limit unless --command-timeout is given. */
int ctl__snapshot_save_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    if (pflag_narg(call->flags) != 1) {
        return ctl__fail(ctl, CTL_BAD_ARGS, "snapshot save expects one argument");
    }
    int code = ctl__setup(ctl, call);
    if (code != CTL_OK) {
        return code;
    }
    if (ctl->options.endpoint_count != 1) {
        return not_one_endpoint(ctl);
    }
    code = ctl__connect(ctl);
    if (code != CTL_OK) {
        return code;
    }
    bool is_limited = pflag_changed(call->flags, "command-timeout");
    return save(ctl, pflag_arg(call->flags, 0), is_limited ? ctl__deadline(ctl) : UINT64_MAX);
}
