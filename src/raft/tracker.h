/* The configuration in force and the progress of everybody in it.
 *
 * Changing the configuration is done on a copy that is checked before it is taken over, so a
 * change that does not fit leaves everything as it was. */
#ifndef RAFT_TRACKER_H
#define RAFT_TRACKER_H

#include "raft/progress.h"

/* The sets of raft_conf_state, under the rules of raft_conf_state_is_valid(). */
struct tracker_config {
    struct quorum_joint voters;
    struct raft_id_set learners;
    struct raft_id_set learners_next;
    bool auto_leave;
};

bool tracker_config_is_joint(const struct tracker_config *config);

/* "voters=(1 2)&&(1) learners=(3) autoleave", as etcd's raft prints it. */
void tracker_config_text(const struct tracker_config *config, struct buf *out);

struct tracker {
    struct tracker_config config;
    struct progress *peers; /* ascending by id */
    uint32_t peer_count;
    uint32_t inflight_max;
    uint64_t inflight_bytes_max;
};

void tracker_init(struct tracker *tracker, uint32_t inflight_max, uint64_t inflight_bytes_max);
void tracker_fini(struct tracker *tracker);

/* NULL for a stranger. */
struct progress *tracker_find(const struct tracker *tracker, raft_id id);

/* Forgets votes and all progress but who is a learner; everybody's next is `next`. */
void tracker_reset(struct tracker *tracker, raft_index next);

/* The configuration that this change leads to: simple, into a joint one, or out of it.
 *
 * ERR_INVALID  it cannot follow `config` */
FALLIBLE tracker_config_change(const struct tracker_config *config,
                               const struct raft_conf_change *change, struct tracker_config *out);

/* Takes over a configuration; newcomers start probing at `next`. */
void tracker_switch(struct tracker *tracker, const struct tracker_config *config, raft_index next);

struct tracker_config tracker_config_from(const struct raft_conf_state *conf_state);
void tracker_conf_state(const struct tracker *tracker, struct raft_conf_state *out);

/* The highest index that a quorum of voters holds. */
raft_index tracker_committed(const struct tracker *tracker);
bool tracker_is_quorum_active(const struct tracker *tracker);

void tracker_reset_votes(struct tracker *tracker);
/* The first vote counts. */
void tracker_record_vote(struct tracker *tracker, raft_id id, bool is_granted);
enum quorum_result tracker_tally(const struct tracker *tracker, uint32_t *granted,
                                 uint32_t *rejected);

void tracker_check(const struct tracker *tracker);

#endif
