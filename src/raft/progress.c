#include "raft/progress.h"

#include <inttypes.h>
#include <stdio.h>

void inflights_init(struct inflights *in, uint32_t max, uint64_t bytes_max)
{
    ASSERT(max > 0);
    *in = (struct inflights){.max = max, .bytes_max = bytes_max};
}

void inflights_fini(struct inflights *in)
{
    mem_free(in->ring);
    *in = (struct inflights){0};
}

void inflights_reset(struct inflights *in)
{
    in->start = 0;
    in->count = 0;
    in->bytes = 0;
}

static struct inflight *inflight_at(const struct inflights *in, uint32_t i)
{
    return &in->ring[(in->start + i) & (in->cap - 1)];
}

static void inflights_grow(struct inflights *in)
{
    uint32_t cap = in->cap == 0 ? 8 : in->cap * 2;
    struct inflight *ring = mem_array(cap, sizeof(*ring));
    for (uint32_t i = 0; i < in->count; i++) {
        ring[i] = *inflight_at(in, i);
    }
    mem_free(in->ring);
    in->ring = ring;
    in->cap = cap;
    in->start = 0;
}

void inflights_add(struct inflights *in, raft_index index, uint64_t bytes)
{
    ASSERT(!inflights_is_full(in));
    if (in->count == in->cap) {
        inflights_grow(in);
    }
    *inflight_at(in, in->count) = (struct inflight){.index = index, .bytes = bytes};
    in->count++;
    in->bytes += bytes;
}

void inflights_free_to(struct inflights *in, raft_index index)
{
    while (in->count > 0 && inflight_at(in, 0)->index <= index) {
        ASSERT(in->bytes >= inflight_at(in, 0)->bytes);
        in->bytes -= inflight_at(in, 0)->bytes;
        in->start = (in->start + 1) & (in->cap - 1);
        in->count--;
    }
}

bool inflights_is_full(const struct inflights *in)
{
    return in->count >= in->max || in->bytes >= in->bytes_max;
}

static raft_index index_min(raft_index a, raft_index b)
{
    return a < b ? a : b;
}

static raft_index index_max(raft_index a, raft_index b)
{
    return a > b ? a : b;
}

static void progress_enter(struct progress *pr, enum raft_peer_state state)
{
    pr->is_flow_paused = false;
    pr->pending_snapshot = 0;
    pr->state = state;
    inflights_reset(&pr->inflights);
}

void progress_become_probe(struct progress *pr)
{
    raft_index next = pr->match + 1;
    if (pr->state == RAFT_PEER_SNAPSHOT) {
        /* The snapshot went out whole: probe behind it, whatever was acknowledged before. */
        next = index_max(next, pr->pending_snapshot + 1);
    }
    progress_enter(pr, RAFT_PEER_PROBE);
    pr->next = next;
    pr->sent_commit = index_min(pr->sent_commit, next - 1);
}

void progress_become_replicate(struct progress *pr)
{
    progress_enter(pr, RAFT_PEER_REPLICATE);
    pr->next = pr->match + 1;
}

void progress_become_snapshot(struct progress *pr, raft_index index)
{
    progress_enter(pr, RAFT_PEER_SNAPSHOT);
    pr->pending_snapshot = index;
    pr->next = index + 1;
    pr->sent_commit = index;
}

void progress_sent_entries(struct progress *pr, size_t count, uint64_t payload_bytes)
{
    ASSERT(pr->state != RAFT_PEER_SNAPSHOT);
    if (pr->state == RAFT_PEER_PROBE) {
        pr->is_flow_paused = pr->is_flow_paused || count > 0;
        return;
    }
    if (count > 0) {
        pr->next += count;
        inflights_add(&pr->inflights, pr->next - 1, payload_bytes);
    }
    pr->is_flow_paused = inflights_is_full(&pr->inflights);
}

bool progress_can_bump_commit(const struct progress *pr, raft_index commit)
{
    /* It cannot commit beyond what it was sent, so next-1 bounds what is worth telling. */
    return commit > pr->sent_commit && pr->sent_commit < pr->next - 1;
}

bool progress_update(struct progress *pr, raft_index index)
{
    if (index <= pr->match) {
        return false;
    }
    pr->match = index;
    pr->next = index_max(pr->next, index + 1);
    pr->is_flow_paused = false;
    return true;
}

bool progress_decrease(struct progress *pr, raft_index rejected, raft_index hint)
{
    if (pr->state == RAFT_PEER_REPLICATE) {
        if (rejected <= pr->match) {
            return false;
        }
        pr->next = pr->match + 1;
        pr->sent_commit = index_min(pr->sent_commit, pr->next - 1);
        return true;
    }
    /* One probe is out at a time: the answer to any other is stale. */
    if (pr->next - 1 != rejected) {
        return false;
    }
    pr->next = index_max(index_min(rejected, hint + 1), pr->match + 1);
    pr->sent_commit = index_min(pr->sent_commit, pr->next - 1);
    pr->is_flow_paused = false;
    return true;
}

bool progress_is_paused(const struct progress *pr)
{
    return pr->state == RAFT_PEER_SNAPSHOT || pr->is_flow_paused;
}

static const char *const state_names[] = {
    [RAFT_PEER_PROBE] = "StateProbe",
    [RAFT_PEER_REPLICATE] = "StateReplicate",
    [RAFT_PEER_SNAPSHOT] = "StateSnapshot",
};

const char *progress_text(const struct progress *pr, char out[PROGRESS_TEXT_MAX])
{
    char pending[48] = "";
    char inflight[48] = "";
    if (pr->pending_snapshot > 0) {
        snprintf(pending, sizeof(pending), " pendingSnap=%" PRIu64, pr->pending_snapshot);
    }
    if (pr->inflights.count > 0) {
        snprintf(inflight, sizeof(inflight), " inflight=%u%s", pr->inflights.count,
                 inflights_is_full(&pr->inflights) ? "[full]" : "");
    }
    snprintf(out, PROGRESS_TEXT_MAX, "%s match=%" PRIu64 " next=%" PRIu64 "%s%s%s%s%s",
             state_names[pr->state], pr->match, pr->next, pr->is_learner ? " learner" : "",
             progress_is_paused(pr) ? " paused" : "", pending,
             pr->is_recent_active ? "" : " inactive", inflight);
    return out;
}

void progress_check(const struct progress *pr)
{
    ASSERT(pr->id != RAFT_NONE);
    ASSERT(pr->match < pr->next);
    const struct inflights *in = &pr->inflights;
    ASSERT(in->count <= in->max);
    ASSERT(in->count <= in->cap);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < in->count; i++) {
        bytes += inflight_at(in, i)->bytes;
        ASSERT(i == 0 || inflight_at(in, i - 1)->index < inflight_at(in, i)->index);
        ASSERT(inflight_at(in, i)->index < pr->next);
    }
    ASSERT(bytes == in->bytes);
    ASSERT(pr->state == RAFT_PEER_REPLICATE || in->count == 0);
    ASSERT(pr->state == RAFT_PEER_SNAPSHOT || pr->pending_snapshot == 0);
}
