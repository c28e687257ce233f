/* What consensus itself costs a Put: proposals through one member, and through a leader of three
 * whose followers answer at once, in batches as group commit makes them. */
#include "raft/raft.h"

#include <stdio.h>
#include <time.h>

#define ENTRIES 2000000
#define BATCH 64
#define VALUE 300

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static struct raft *member_new(raft_id id, raft_id count)
{
    struct raft_conf_state conf_state = {0};
    for (raft_id i = 1; i <= count; i++) {
        ASSERT(raft_id_set_add(&conf_state.voters, i));
    }
    struct raft_config config = raft_config_default(id, id);
    config.conf_state = &conf_state;
    struct raft *raft;
    ASSERT(raft_new(&config, NULL, &raft) == ERR_OK);
    return raft;
}

static void settle(struct raft **rafts, size_t count, struct raft_ready *rd)
{
    for (bool is_busy = true; is_busy;) {
        is_busy = false;
        for (size_t i = 0; i < count; i++) {
            if (!raft_has_ready(rafts[i])) {
                continue;
            }
            is_busy = true;
            raft_ready(rafts[i], rd);
            raft_persisted(rafts[i], rd);
            for (size_t k = 0; k < rd->message_count; k++) {
                (void)!raft_step(rafts[rd->messages[k].to - 1], &rd->messages[k]);
            }
            for (size_t k = 0; k < rd->after_count; k++) {
                if (rd->after[k].to != i + 1) {
                    (void)!raft_step(rafts[rd->after[k].to - 1], &rd->after[k]);
                }
            }
            if (rd->committed_count > 0) {
                raft_applied(rafts[i], rd->committed[rd->committed_count - 1].index);
            }
            raft_ready_reset(rd);
        }
    }
}

static void compact(struct raft *raft)
{
    struct raft_status st;
    struct raft_conf_state conf_state;
    raft_status(raft, &st);
    raft_conf_state(raft, &conf_state);
    if (st.applied > st.snapshot_index + 10000) {
        ASSERT(raft_create_snapshot(raft, st.applied, &conf_state, NULL) == ERR_OK);
        if (st.applied > 5000) {
            ASSERT(raft_compact(raft, st.applied - 5000) == ERR_OK);
        }
    }
}

static void run(size_t count)
{
    struct raft *rafts[3];
    struct raft_ready rd = {0};
    struct raft_payload *payloads[BATCH];
    for (size_t i = 0; i < count; i++) {
        rafts[i] = member_new(i + 1, count);
    }
    raft_campaign(rafts[0]);
    settle(rafts, count, &rd);
    double start = now_s();
    for (size_t done = 0; done < ENTRIES / count; done += BATCH) {
        for (size_t i = 0; i < BATCH; i++) {
            payloads[i] = raft_payload_new(VALUE);
        }
        ASSERT(raft_propose(rafts[0], payloads, BATCH) == ERR_OK);
        for (size_t i = 0; i < BATCH; i++) {
            raft_payload_unref(&payloads[i]);
        }
        settle(rafts, count, &rd);
        for (size_t i = 0; i < count; i++) {
            compact(rafts[i]);
        }
    }
    double spent = now_s() - start;
    printf("%zu member%s: %.0f ns an entry, %.2f M entries/s\n", count, count == 1 ? "" : "s",
           spent / (double)(ENTRIES / count) * 1e9, (double)(ENTRIES / count) / spent / 1e6);
    raft_ready_fini(&rd);
    for (size_t i = 0; i < count; i++) {
        raft_free(&rafts[i]);
    }
}

int main(void)
{
    run(1);
    run(3);
    return 0;
}
