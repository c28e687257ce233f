/* The lines a member logs from start to stop, worded as etcd 3.6's.
 *
 * Scripts, test harnesses and log scrapers wait for these messages and read their fields, so they
 * have one home. docs/notes/log-lines.md lists them in order, and which are waited for.
 *
 * Threads: loop thread. Nothing is kept. */
#ifndef SERVER_BANNER_H
#define SERVER_BANNER_H

#include "server/config.h"

/* Who we are, for lines that say so. */
struct banner_member {
    uint64_t member_id;
    uint64_t cluster_id;
};

/* ---- before the server --------------------------------------------------------------------- */

/* "configuring socket options" (when any is on), "configuring peer listeners". */
void banner_peer_listeners(const struct config *config);
/* "configuring client listeners". */
void banner_client_listeners(const struct config *config);
/* "starting an etcd server", with every setting. `is_initialized`: the data directory has a
 * member, whose cluster then is not shown. */
void banner_server(const struct config *config, bool is_initialized, unsigned cpu_count);
/* "opened backend db". */
void banner_backend(const struct config *config, int64_t took_ns);
/* "starting local member" and "restarting local member". */
void banner_new_member(const struct config *config, const struct banner_member *member);
void banner_old_member(const struct config *config, const struct banner_member *member,
                       uint64_t commit_index);
/* "enabled backend quota with default value" and its kin; "exceeded recommended request limit". */
void banner_limits(const struct config *config);

/* ---- while it starts ---------------------------------------------------------------------------
 */

/* "starting etcd server"; cluster_version NULL: to_be_decided. */
void banner_start(const struct config *config, const struct banner_member *member,
                  const char *cluster_version);
/* "started as single-node; fast-forwarding election ticks". */
void banner_fast_forward(const struct config *config, const struct banner_member *member,
                         uint64_t ticks);
/* "added member", once an applied addition. */
void banner_member_added(const struct config *config, const struct banner_member *self,
                         uint64_t added_id, const char *const *peer_urls, size_t url_count,
                         bool is_learner);
/* "now serving peer/client/metrics". */
void banner_serving(const struct config *config, const struct banner_member *member);
/* "serving peer traffic". */
void banner_serving_peer(const struct config *config, const char *address);
/* "published local member to cluster through raft". */
void banner_published(const struct config *config, const struct banner_member *member);
/* "set initial cluster version" and "cluster version is updated" ("3.6"). */
void banner_cluster_version(const struct config *config, const struct banner_member *member,
                            const char *cluster_version);

/* ---- ready
 * ----------------------------------------------------------------------------------------- */

enum banner_traffic {
    BANNER_GRPC_HTTP,
    BANNER_GRPC,
    BANNER_HTTP,
};
/* "ready to serve client requests" and "serving client traffic insecurely; this is strongly
 * discouraged!", once a client listener, after the member has been published. */
void banner_ready(const struct config *config, enum banner_traffic traffic, const char *address);
/* "notifying init daemon" and "successfully notified init daemon". */
void banner_notified(const struct config *config);

/* ---- stopping
 * ----------------------------------------------------------------------------------------- */

/* "received signal; shutting down". SIGTERM is "terminated", SIGINT "interrupt". */
void banner_signal(const struct config *config, int signum);
/* "closing etcd server". */
void banner_closing(const struct config *config);
/* "skipped leadership transfer for single voting member cluster". */
void banner_alone(const struct config *config, const struct banner_member *member,
                  uint64_t leader_id);
/* "stopping serving peer traffic" and "stopped serving peer traffic". */
void banner_peer_stopped(const struct config *config, const char *address);
/* "closed etcd server": the last line. */
void banner_closed(const struct config *config);

/* Bytes as etcd's logs show them: "2.1 GB", "17 kB", "9 B". Appends. */
void banner_bytes(uint64_t bytes, struct buf *out);

#endif
