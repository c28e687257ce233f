/* Restore: the data directory of a new member out of a saved database.
 *
 * The member founds a cluster of its own: keys, leases, users and alarms are the snapshot's;
 * members and the log are new, so every member of the new cluster can restore the same file with
 * the same --initial-cluster, and they find each other. What is written is what etcdutl writes,
 * so a Go etcd starts from the directory as well.
 *
 * The database gets its name last: a directory whose restore was cut short has none, and no server
 * starts from it by mistake.
 *
 * Threads: the env's loop thread; blocks until done.
 * Failure: a sentence, in etcdutl's words where it has them; the directory may be left half made,
 *          and another restore into it is refused. */
#ifndef SERVER_RESTORE_H
#define SERVER_RESTORE_H

#include "base/log.h"
#include "env/env.h"

struct restore_options {
    struct env *env;
    const struct log *log;
    const char *snapshot_path;
    const char *data_dir; /* must be missing or empty */
    const char *wal_dir;  /* NULL: in data_dir; else must be missing */
    const char *name;
    const char *peer_urls; /* of this member, with commas between them */
    const char *initial_cluster;
    const char *initial_cluster_token;
    bool skip_hash_check;   /* the file has no digest behind it: copied, not saved */
    uint64_t revision_bump; /* added to the store's revision, so that no client sees it go back */
    bool mark_compacted;    /* what is below the new revision is gone: watchers must start over */
};

/* ERR_INVALID: options that contradict each other or the directory. ERR_CORRUPT: the file's digest,
 * or what is in it, is wrong. ERR_NOT_FOUND, ERR_IO, ERR_NOSPACE, …: from the disk. */
FALLIBLE restore_run(const struct restore_options *options, struct errbuf *why);

#endif
