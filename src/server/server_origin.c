/* Whose database is this? One of a newer etcd may hold what we do not understand, and is refused
 * before anything is changed. One that does not know this member may be of another cluster; but so
 * does one that `etcdctl snapshot restore` of 3.4 has made, which leaves the old members' rows and
 * which its etcd never mends: that is said, and served. */
#include "server/server_priv.h"

#include <stdio.h>

/* "3.6.0", major and minor only: what members of one minor version write, all of them read. */
static bool is_newer(struct slice version)
{
    unsigned ours[2];
    unsigned theirs[2];
    char text[32];
    snprintf(text, sizeof(text), "%.*s", (int)version.len, (const char *)version.data);
    int known = sscanf(CONFIG_ETCD_VERSION, "%u.%u", &ours[0], &ours[1]);
    ASSERT(known == 2);
    if (sscanf(text, "%u.%u", &theirs[0], &theirs[1]) != 2) {
        return false; /* nothing that we could name; it is only shown */
    }
    return theirs[0] != ours[0] ? theirs[0] > ours[0] : theirs[1] > ours[1];
}

static FALLIBLE check_version(struct server *server, enum backend_bucket bucket, const char *key,
                              struct errbuf *why)
{
    struct slice version;
    if (!backend_get(server->backend, bucket, slice_str(key), &version) || !is_newer(version)) {
        return ERR_OK;
    }
    return errf(
        why, ERR_UNSUPPORTED,
        "the database %s was last used by a newer etcd: its %s is %.*s, and this one speaks "
        "%s; start that version on it, or downgrade the cluster there first",
        config_backend_path(server->config), key, (int)(version.len < 32 ? version.len : 32),
        (const char *)version.data, CONFIG_ETCD_VERSION);
}

struct search {
    uint64_t wanted;
    bool has_any;
    bool is_found;
};

static bool look(void *ctx, struct slice key, struct slice value)
{
    struct search *search = ctx;
    uint64_t id;
    UNUSED(value);
    search->has_any = true;
    search->is_found = slice_hex_to_u64(key, &id) == ERR_OK && id == search->wanted;
    return !search->is_found;
}

/* A member is in the database from the entry on that made it one, also when it was removed. */
static void check_member(struct server *server)
{
    struct search search = {.wanted = server->member_id};
    backend_scan(server->backend, BUCKET_MEMBERS, SLICE_EMPTY, SLICE_EMPTY, look, &search);
    if (!search.is_found) {
        backend_scan(server->backend, BUCKET_MEMBERS_REMOVED, SLICE_EMPTY, SLICE_EMPTY, look,
                     &search);
    }
    if (search.has_any && !search.is_found) {
        LOG_WARN(&server->log,
                 "this member is none of the database's: it was restored by an old etcdctl, or the "
                 "database and the log are not of one member",
                 log_str("path", config_backend_path(server->config)),
                 log_str("wal-dir", config_wal_dir(server->config)),
                 log_hex("member-id", server->member_id));
    }
}

FALLIBLE server__check_origin(struct server *server, struct errbuf *why)
{
    TRY(check_version(server, BUCKET_META, "storageVersion", why));
    TRY(check_version(server, BUCKET_CLUSTER, "clusterVersion", why));
    check_member(server);
    return ERR_OK;
}
