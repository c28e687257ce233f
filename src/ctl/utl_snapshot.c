/* snapshot status, snapshot restore: of etcdutl, and as etcdctl had them until 3.5. */
#include "ctl/utl_priv.h"

#include "base/gotext.h"
#include "ctl/dbstatus.h"
#include "ctl/print_priv.h"
#include "server/restore.h"

#include <inttypes.h>

/* ---- status ---------------------------------------------------------------------------------- */

static void status_table(const struct dbstatus *status, bool with_version, struct table *table)
{
    struct buf size = {0};
    print__humanize((uint64_t)status->total_size, &size);
    table_cellf(table, "%" PRIx32, status->hash);
    table_cellf(table, "%" PRId64, status->revision);
    table_cellf(table, "%" PRId64, status->total_key);
    table_cell(table, buf_slice(&size));
    if (with_version) {
        table_cell(table, slice_str(status->version));
    }
    buf_fini(&size);
}

static void show_table(struct ctl *ctl, const struct dbstatus *status, bool with_version)
{
    static const char *const titles[] = {"hash", "revision", "total keys", "total size", "version"};
    struct table *table = table_new(titles, ARRAY_LEN(titles) - (with_version ? 0 : 1));
    status_table(status, with_version, table);
    if (ctl->printer.format == PRINT_TABLE) {
        table_draw(table, &ctl->out);
    } else {
        table_join(table, ", ", &ctl->out);
    }
    table_free(&table);
}

static void show_fields(struct ctl *ctl, const struct dbstatus *status, bool with_version)
{
    buf_printf(&ctl->out,
               "\"Hash\" : %" PRIu32 "\n\"Revision\" : %" PRId64 "\n\"Keys\" : %" PRId64
               "\n\"Size\" : %" PRId64 "\n",
               status->hash, status->revision, status->total_key, status->total_size);
    if (with_version) {
        buf_printf(&ctl->out, "\"Version\" : %s\n", status->version);
    }
}

static void show_json(struct ctl *ctl, const struct dbstatus *status, bool with_version)
{
    buf_printf(&ctl->out,
               "{\"hash\":%" PRIu32 ",\"revision\":%" PRId64 ",\"totalKey\":%" PRId64
               ",\"totalSize\":%" PRId64,
               status->hash, status->revision, status->total_key, status->total_size);
    if (with_version) {
        buf_append_str(&ctl->out, ",\"version\":");
        go_quote(slice_str(status->version), &ctl->out);
    }
    buf_append_str(&ctl->out, "}\n");
}

static int show_status(struct ctl *ctl, const struct dbstatus *status, bool with_version)
{
    switch (ctl->printer.format) {
    case PRINT_SIMPLE:
    case PRINT_TABLE:
        show_table(ctl, status, with_version);
        return CTL_OK;
    case PRINT_FIELDS:
        show_fields(ctl, status, with_version);
        return CTL_OK;
    case PRINT_JSON:
        show_json(ctl, status, with_version);
        return CTL_OK;
    case PRINT_PROTOBUF:
        return ctl__shown(ctl, ERR_UNSUPPORTED);
    }
    UNREACHABLE();
}

int utl__status(struct ctl *ctl, const struct command_call *call, bool with_version)
{
    struct dbstatus status;
    struct errbuf why = {{0}};
    if (pflag_narg(call->flags) != 1) {
        return ctl__fail(ctl, CTL_BAD_ARGS, "snapshot status requires exactly one argument");
    }
    if (dbstatus_read(ctl->env->disk, pflag_arg(call->flags, 0), &status, &why) != ERR_OK) {
        return ctl__fail(ctl, CTL_ERROR, "%s", why.text);
    }
    return show_status(ctl, &status, with_version);
}

/* ---- restore --------------------------------------------------------------------------------- */

const struct pflag_spec utl__restore_flags[UTL_RESTORE_FLAGS] = {
    {"data-dir", 0, PFLAG_STRING, "", "the directory to make (<name>.etcd when not given)", NULL},
    {"wal-dir", 0, PFLAG_STRING, "", "a directory of its own for the log", NULL},
    {"initial-cluster", 0, PFLAG_STRING, "default=http://localhost:2380",
     "the members of the new cluster, as the server's flag", NULL},
    {"initial-cluster-token", 0, PFLAG_STRING, "etcd-cluster",
     "a name for the new cluster, as the server's flag", NULL},
    {"initial-advertise-peer-urls", 0, PFLAG_STRING, "http://localhost:2380",
     "the peer URLs of this member, as the server's flag", NULL},
    {"name", 0, PFLAG_STRING, "default", "the name of this member", NULL},
    {"skip-hash-check", 0, PFLAG_BOOL, "false",
     "the file has no digest behind it: it is a copy of a member's database", NULL},
    {"initial-memory-map-size", 0, PFLAG_UINT64, "0",
     "accepted for etcd's sake; a restore needs no such map", NULL},
    {"bump-revision", 0, PFLAG_UINT64, "0", "how far above its last revision the store goes on",
     NULL},
    {"mark-compacted", 0, PFLAG_BOOL, "false",
     "compact up to the new revision (needed with --bump-revision)", NULL},
};

int utl__restore(struct ctl *ctl, const struct command_call *call)
{
    const struct pflag_set *flags = call->flags;
    struct errbuf why = {{0}};
    const char *data_dir = pflag_str(flags, "data-dir");
    const char *wal_dir = pflag_str(flags, "wal-dir");
    uint64_t bump = pflag_u64(flags, "bump-revision");
    bool mark_compacted = pflag_bool(flags, "mark-compacted");
    if (pflag_narg(flags) != 1) {
        return ctl__fail(ctl, CTL_BAD_ARGS, "snapshot restore requires exactly one argument");
    }
    if ((bump > 0) != mark_compacted) {
        return ctl__fail(ctl, CTL_BAD_ARGS, "--mark-compacted required if --revision-bump > 0");
    }
    struct restore_options options = {
        .env = ctl->env,
        .log = &ctl->log,
        .snapshot_path = pflag_arg(flags, 0),
        .data_dir = data_dir[0] != '\0'
                        ? data_dir
                        : arena_printf(&ctl->arena, "%s.etcd", pflag_str(flags, "name")),
        .wal_dir = wal_dir[0] == '\0' ? NULL : wal_dir,
        .name = pflag_str(flags, "name"),
        .peer_urls = pflag_str(flags, "initial-advertise-peer-urls"),
        .initial_cluster = pflag_str(flags, "initial-cluster"),
        .initial_cluster_token = pflag_str(flags, "initial-cluster-token"),
        .skip_hash_check = pflag_bool(flags, "skip-hash-check"),
        .revision_bump = bump,
        .mark_compacted = mark_compacted,
    };
    if (restore_run(&options, &why) != ERR_OK) {
        return ctl__fail(ctl, CTL_ERROR, "%s", why.text);
    }
    return CTL_OK;
}

/* ---- etcdctl's, until 3.5 -------------------------------------------------------------------- */

static void deprecated(struct ctl *ctl, const char *command)
{
    buf_printf(&ctl->err, "Deprecated: Use `etcdutl %s` instead.\n\n", command);
}

int ctl__snapshot_status_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    deprecated(ctl, "snapshot status");
    int code = ctl__setup(ctl, call);
    return code == CTL_OK ? utl__status(ctl, call, false) : code;
}

int ctl__snapshot_restore_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    deprecated(ctl, "snapshot restore");
    int code = ctl__setup(ctl, call);
    return code == CTL_OK ? utl__restore(ctl, call) : code;
}
