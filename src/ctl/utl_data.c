/* defrag and hashkv: work on a member's files while no server has them. */
#include "ctl/utl_priv.h"

#include "ctl/table.h"
#include "state/mvcc.h"
#include "storage/bolt_sync.h"

#include <inttypes.h>

/* ---- defrag ---------------------------------------------------------------------------------- */

int utl__defrag(struct ctl *ctl, const char *data_dir)
{
    struct errbuf why = {{0}};
    uint64_t before = 0;
    uint64_t after = 0;
    mono_ns began = env_now_mono(ctl->env);
    const char *path = arena_printf(&ctl->arena, "%s/member/snap/db", data_dir);
    enum err err = bolt_sync_defrag(ctl->env->disk, path, &before, &after, &why);
    if (err == ERR_LOCKED) {
        errf(&why, err, "%s is in use; stop the server, or defragment it with etcdctl", path);
    }
    if (err != ERR_OK) {
        return ctl__fail(ctl, CTL_ERROR, "Failed to defragment etcd data[%s] (%s)", data_dir,
                         why.text);
    }
    LOG_INFO(&ctl->log, "finished defragmenting directory", log_str("path", path),
             log_i64("current-db-size-bytes-diff", (int64_t)after - (int64_t)before),
             log_u64("current-db-size-bytes", after),
             log_duration("took", (int64_t)(env_now_mono(ctl->env) - began)));
    return CTL_OK;
}

int utl__defrag_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    int code = utl__setup(ctl, call);
    return code == CTL_OK ? utl__defrag(ctl, pflag_str(call->flags, "data-dir")) : code;
}

/* ---- hashkv ---------------------------------------------------------------------------------- */

static FALLIBLE hash_store(struct ctl *ctl, struct backend *backend, int64_t revision,
                           struct mvcc_hash_result *out, struct errbuf *why)
{
    struct mvcc_options options = {.backend = backend, .hash_seed = env_random_u64(ctl->env)};
    struct mvcc *store = NULL;
    struct mvcc_hash *hash = NULL;
    TRY(mvcc_open(&options, &store, why));
    enum err err = mvcc_hash_begin(store, revision, &hash);
    if (err == ERR_OK) {
        mvcc_hash_run(hash);
        mvcc_hash_end(&hash, out);
    } else {
        errf(why, err, "%s",
             err == ERR_COMPACTED ? "mvcc: required revision has been compacted"
                                  : "mvcc: required revision is a future revision");
    }
    mvcc_close(&store);
    return err;
}

static FALLIBLE hash_file(struct ctl *ctl, const char *path, int64_t revision,
                          struct mvcc_hash_result *out, struct errbuf *why)
{
    struct backend_options options = {.env = ctl->env, .path = path};
    struct backend *backend = NULL;
    struct file_info info;
    TRY(disk_stat(ctl->env->disk, path, &info, why));
    TRY(backend_open(&options, &backend, why));
    enum err err = hash_store(ctl, backend, revision, out, why);
    backend_close(&backend);
    return err;
}

static void show_hash_table(struct ctl *ctl, const struct mvcc_hash_result *hash)
{
    static const char *const titles[] = {"hash", "hash revision", "compact revision"};
    struct table *table = table_new(titles, ARRAY_LEN(titles));
    table_cellf(table, "%" PRIu32, hash->hash);
    table_cellf(table, "%" PRId64, hash->hash_revision);
    table_cellf(table, "%" PRId64, hash->compact_revision);
    if (ctl->printer.format == PRINT_TABLE) {
        table_draw(table, &ctl->out);
    } else {
        table_join(table, ", ", &ctl->out);
    }
    table_free(&table);
}

static int show_hash(struct ctl *ctl, const struct mvcc_hash_result *hash)
{
    switch (ctl->printer.format) {
    case PRINT_SIMPLE:
    case PRINT_TABLE:
        show_hash_table(ctl, hash);
        return CTL_OK;
    case PRINT_FIELDS:
        buf_printf(&ctl->out,
                   "\"Hash\" : %" PRIu32 "\n\"Hash revision\" : %" PRId64
                   "\n\"Compact revision\" : %" PRId64 "\n",
                   hash->hash, hash->hash_revision, hash->compact_revision);
        return CTL_OK;
    case PRINT_JSON:
        buf_printf(&ctl->out,
                   "{\"hash\":%" PRIu32 ",\"hashRevision\":%" PRId64 ",\"compactRevision\":%" PRId64
                   "}\n",
                   hash->hash, hash->hash_revision, hash->compact_revision);
        return CTL_OK;
    case PRINT_PROTOBUF:
        return ctl__shown(ctl, ERR_UNSUPPORTED);
    }
    UNREACHABLE();
}

int utl__hashkv_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    struct mvcc_hash_result hash = {0};
    struct errbuf why = {{0}};
    int code = utl__setup(ctl, call);
    if (code != CTL_OK) {
        return code;
    }
    if (hash_file(ctl, pflag_arg(call->flags, 0), pflag_i64(call->flags, "rev"), &hash, &why) !=
        ERR_OK) {
        return ctl__fail(ctl, CTL_ERROR, "%s", why.text);
    }
    return show_hash(ctl, &hash);
}
