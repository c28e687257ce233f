/* Progress: what a leader knows of one member's log, and how fast it may feed it.
 *
 *     PROBE      where the logs agree is not known: one MsgApp with entries, then wait for the
 *                answer (or a heartbeat's) before the next
 *     REPLICATE  it is: send on optimistically, `next` ahead of `match`, up to the window
 *     SNAPSHOT   what it needs is compacted: nothing until it reports
 *
 * Invariant: match < next, always. */
#ifndef RAFT_PROGRESS_H
#define RAFT_PROGRESS_H

#include "raft/quorum.h"
#include "raft/raft.h"

/* The window: MsgApps with entries that were sent and not acknowledged, oldest first. A ring that
 * grows on demand up to `max`. */
struct inflights {
    struct inflight {
        raft_index index; /* of the message's last entry */
        uint64_t bytes;   /* of its payloads */
    } * ring;
    uint32_t cap; /* a power of two, or 0 */
    uint32_t start;
    uint32_t count;
    uint32_t max;       /* messages */
    uint64_t bytes_max; /* RAFT_NO_LIMIT: none */
    uint64_t bytes;
};

void inflights_init(struct inflights *in, uint32_t max, uint64_t bytes_max);
void inflights_fini(struct inflights *in);
void inflights_reset(struct inflights *in); /* keeps memory */
/* The window must not be full. */
void inflights_add(struct inflights *in, raft_index index, uint64_t bytes);
/* Everything up to `index` has arrived. */
void inflights_free_to(struct inflights *in, raft_index index);
/* One message over the byte limit is allowed, or a large entry would never leave. */
bool inflights_is_full(const struct inflights *in);

struct progress {
    raft_id id;
    raft_index match;
    raft_index next;
    raft_index sent_commit; /* highest commit index it was told of, as far as we know */
    raft_index pending_snapshot;
    enum raft_peer_state state;
    bool is_learner;
    bool is_recent_active; /* heard of since the last quorum check */
    bool is_flow_paused;   /* no MsgApp until an answer comes */
    enum quorum_vote vote; /* in the election going on */
    uint64_t read_ack;     /* newest read request it confirmed, as raft_read.c counts them */
    struct inflights inflights;
};

void progress_become_probe(struct progress *pr);
void progress_become_replicate(struct progress *pr);
void progress_become_snapshot(struct progress *pr, raft_index index);

/* A MsgApp with these entries has been sent. */
void progress_sent_entries(struct progress *pr, size_t count, uint64_t payload_bytes);
/* Would telling it of `commit` tell it anything new? */
bool progress_can_bump_commit(const struct progress *pr, raft_index commit);
/* It holds everything up to `index`. False when that is old news. */
bool progress_update(struct progress *pr, raft_index index);
/* It refused entries after `rejected`, and its log may agree up to `hint`. False when the refusal
 * is a stale one. */
bool progress_decrease(struct progress *pr, raft_index rejected, raft_index hint);
bool progress_is_paused(const struct progress *pr);

/* As etcd's raft prints it, "StateProbe match=0 next=1 ..."; returns `out`. */
#define PROGRESS_TEXT_MAX 192
const char *progress_text(const struct progress *pr, char out[PROGRESS_TEXT_MAX]);

void progress_check(const struct progress *pr);

#endif
