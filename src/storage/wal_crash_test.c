/* Power fails at every operation that changes the disk; what was acknowledged comes back.
 *
 * One workload runs on a simulated disk. Before each changing operation the disk is cloned, the
 * clone loses its unsynced state in one of four ways, and a member starts from it:
 *
 *   1. A log that was created is there; one that was not can be created.
 *   2. The newest snapshot that is loadable and in the log is at least the last acknowledged one.
 *   3. The entries behind it are those of all acknowledged writes, followed by some first entries
 *      of the writes in flight, in order.
 *   4. Term and vote are those of the last acknowledged write, or of one in flight.
 *   5. The log goes on: what is appended after recovery comes back too. */
#include "storage/snap.h"
#include "storage/wal.h"

#include "base/mem.h"
#include "env/loop.h"
#include "env/sim.h"
#include "storage/wal_priv.h"
#include "unit.h"

#define SEGMENT_BYTES ((uint64_t)16 * 1024)
#define INDEX_MAX 4096
#define WRITES_MAX 512
#define STEPS 40

/* What one write says, kept until the end so that it can be applied to a model. */
struct step {
    struct wal_write write;
    struct raft_entry entries[6];
    struct wal_snapshot snapshot;
    struct world *world;
    bool is_acked;
};

struct world {
    struct sim_rng rng;
    struct disk *disk;
    struct env *env;
    struct loop *loop;
    struct wal *wal;
    bool is_created;
    struct step *steps; /* in order of their appends */
    size_t step_count;
    size_t acked_count;
    raft_term term;
    raft_index last;
    raft_index commit;
    raft_index acked_snapshot;

    uint64_t seed;
    enum sim_crash policy;
    size_t crashes;
};

static struct raft_payload *make_payload(raft_index index, raft_term term)
{
    size_t len = (size_t)((index * 7919 + term * 104729) % 1500);
    struct raft_payload *payload = raft_payload_new(len);
    for (size_t i = 0; i < len; i++) {
        payload->bytes[i] = (uint8_t)(index * 31 + term * 7 + i);
    }
    return payload;
}

static void check_payload(const struct raft_entry *entry)
{
    struct raft_payload *expected = make_payload(entry->index, entry->term);
    assert_true(slice_eq(raft_payload_slice(entry->payload), raft_payload_slice(expected)));
    raft_payload_unref(&expected);
}

static void must(enum err err, const struct errbuf *why)
{
    if (err != ERR_OK) {
        print_error("%s: %s\n", err_name(err), why->text);
    }
    assert_int_equal(err, ERR_OK);
}

/* ---- the model ------------------------------------------------------------------------------ */

/* The log as a table of terms: [index] is 0 where there is no entry. */
struct model {
    raft_term terms[INDEX_MAX];
    raft_index last;
};

static void model_entry(struct model *model, const struct raft_entry *entry)
{
    model->terms[entry->index] = entry->term;
    model->last = entry->index;
}

static void model_write(struct model *model, const struct wal_write *write)
{
    if (write->snapshot != NULL && write->snapshot->index > model->last) {
        model->last = write->snapshot->index;
    }
    for (size_t i = 0; i < write->entry_count; i++) {
        model_entry(model, &write->entries[i]);
    }
}

static bool model_matches(const struct model *model, raft_index start,
                          const struct wal_contents *contents)
{
    raft_index last = model->last > start ? model->last : start;
    if (contents->entry_count != last - start) {
        return false;
    }
    for (size_t i = 0; i < contents->entry_count; i++) {
        if (contents->entries[i].term != model->terms[contents->entries[i].index]) {
            return false;
        }
    }
    return true;
}

/* Invariant 3. */
static void check_entries(const struct world *w, raft_index start,
                          const struct wal_contents *contents)
{
    struct model *model = NEW(struct model);
    for (size_t i = 0; i < contents->entry_count; i++) {
        assert_int_equal(contents->entries[i].index, start + 1 + i);
        check_payload(&contents->entries[i]);
    }
    for (size_t i = 0; i < w->acked_count; i++) {
        model_write(model, &w->steps[i].write);
    }
    bool matches = model_matches(model, start, contents);
    for (size_t i = w->acked_count; i < w->step_count && !matches; i++) {
        const struct wal_write *write = &w->steps[i].write;
        for (size_t k = 0; k < write->entry_count && !matches; k++) {
            model_entry(model, &write->entries[k]);
            matches = model_matches(model, start, contents);
        }
    }
    if (!matches) {
        print_error("start %llu: %zu entries; acknowledged %zu of %zu writes, to index %llu\n",
                    (unsigned long long)start, contents->entry_count, w->acked_count, w->step_count,
                    (unsigned long long)model->last);
    }
    mem_free(model);
    assert_true(matches);
}

/* Invariant 4. */
static void check_state(const struct world *w, const struct raft_hard_state *state)
{
    bool matches = w->acked_count == 0;
    size_t first = w->acked_count == 0 ? 0 : w->acked_count - 1;
    for (size_t i = first; i < w->step_count && !matches; i++) {
        const struct raft_hard_state *said = &w->steps[i].write.hard_state;
        matches = said->term == state->term && said->vote == state->vote;
    }
    assert_true(matches);
}

/* ---- a member that starts ----------------------------------------------------------------------
 */

static void wait_for(struct loop *loop, const bool *flag)
{
    while (!*flag) {
        loop_turn(loop, true);
    }
}

struct probe {
    struct wal_write write;
    bool is_done;
};

static void probe_done(struct wal_write *write)
{
    CONTAINER_OF(write, struct probe, write)->is_done = true;
}

/* Invariant 5. */
static void check_goes_on(struct env *env, struct wal_position start, struct wal *wal,
                          raft_index next)
{
    struct loop *loop = loop_new(env);
    struct raft_entry entry = {.index = next, .term = 999, .payload = make_payload(next, 999)};
    struct probe probe = {.write = {.entries = &entry, .entry_count = 1, .must_sync = true}};
    probe.write.done = probe_done;
    wal_append(wal, &probe.write);
    wait_for(loop, &probe.is_done);
    raft_payload_unref(&entry.payload);
    wal_close(&wal);

    struct wal_config config = {.env = env, .dir = "/member/wal", .segment_bytes = SEGMENT_BYTES};
    struct wal_contents contents;
    struct errbuf why;
    sim_disk_crash(env->disk, SIM_CRASH_LOSE, 0);
    must(wal_open(&config, start, &wal, &contents, &why), &why);
    assert_null(contents.repaired);
    assert_int_equal(contents.entries[contents.entry_count - 1].term, 999);
    assert_int_equal(contents.entries[contents.entry_count - 1].index, next);
    wal_contents_fini(&contents);
    wal_close(&wal);
    loop_free(&loop);
}

/* Invariant 2. */
static struct wal_position choose_start(const struct world *w, struct disk *disk)
{
    struct wal_position start = {0};
    struct wal_position *list;
    size_t count;
    struct snap snap;
    struct errbuf why;
    must(wal_snapshots(disk, "/member/wal", &list, &count, &why), &why);
    enum err err = snap_load_matching(disk, "/member/snap", list, count, &snap, NULL, &why);
    if (err == ERR_OK) {
        start = (struct wal_position){.index = snap.index, .term = snap.term};
        snap_fini(&snap);
    } else {
        assert_int_equal(err, ERR_NOT_FOUND);
    }
    assert_true(start.index >= w->acked_snapshot);
    mem_free(list);
    return start;
}

static void recover(const struct world *w, struct disk *disk)
{
    struct env *env = sim_env_new(w->seed, disk);
    struct errbuf why;
    bool is_there = false;
    assert_int_equal(wal_exists(disk, "/member/wal", &is_there, NULL), ERR_OK);
    if (!is_there) {
        assert_false(w->is_created); /* invariant 1 */
        must(disk_mkdir_all(disk, "/member", 0700, &why), &why);
        must(wal_create(disk, "/member/wal", SLICE("\x08\x01\x10\x02"), SEGMENT_BYTES, &why), &why);
    }
    if (!disk_exists(disk, "/member/snap")) {
        assert_int_equal(w->acked_snapshot, 0);
        must(disk_mkdir_all(disk, "/member/snap", 0700, &why), &why);
    }
    struct wal_position start = choose_start(w, disk);
    struct wal_config config = {.env = env, .dir = "/member/wal", .segment_bytes = SEGMENT_BYTES};
    struct wal_contents contents;
    struct wal *wal;
    must(wal_open(&config, start, &wal, &contents, &why), &why);
    wal_check(wal);
    check_entries(w, start.index, &contents);
    check_state(w, &contents.hard_state);
    raft_index next = start.index + contents.entry_count + 1;
    wal_contents_fini(&contents);
    check_goes_on(env, start, wal, next);
    sim_env_free(&env);
}

static void on_op(enum sim_op op, const char *path, uint64_t number, void *ctx)
{
    struct world *w = ctx;
    struct disk *clone = sim_disk_clone(w->disk);
    sim_disk_crash(clone, w->policy, w->seed * 1000003 + number);
    recover(w, clone);
    sim_disk_free(&clone);
    w->crashes++;
}

/* ---- the workload ------------------------------------------------------------------------------
 */

static void step_done(struct wal_write *write)
{
    struct step *step = CONTAINER_OF(write, struct step, write);
    struct world *w = step->world;
    assert_ptr_equal(step, &w->steps[w->acked_count]); /* in order */
    step->is_acked = true;
    w->acked_count++;
    if (write->snapshot != NULL) {
        w->acked_snapshot = write->snapshot->index;
    }
}

static struct step *new_step(struct world *w)
{
    assert_true(w->step_count < WRITES_MAX);
    struct step *step = &w->steps[w->step_count];
    step->world = w;
    step->write.done = step_done;
    step->write.must_sync = true;
    return step;
}

static void submit(struct world *w, struct step *step)
{
    step->write.has_hard_state = true;
    step->write.hard_state =
        (struct raft_hard_state){.term = w->term, .vote = w->term % 3 + 1, .commit = w->commit};
    w->step_count++;
    wal_append(w->wal, &step->write);
}

/* Some entries; now and then a new leader first drops what was not committed. */
static void append_some(struct world *w)
{
    struct step *step = new_step(w);
    if (sim_rng_chance(&w->rng, 20)) {
        w->term++;
        if (w->last > w->commit) {
            w->last -= sim_rng_below(&w->rng, w->last - w->commit + 1);
        }
    }
    step->write.entry_count = 1 + (size_t)sim_rng_below(&w->rng, ARRAY_LEN(step->entries));
    step->write.entries = step->entries;
    for (size_t i = 0; i < step->write.entry_count; i++) {
        raft_index index = ++w->last;
        step->entries[i] = (struct raft_entry){
            .index = index, .term = w->term, .payload = make_payload(index, w->term)};
    }
    submit(w, step);
}

static void drain(struct world *w)
{
    while (w->acked_count < w->step_count) {
        loop_turn(w->loop, true);
    }
}

static raft_term term_at(const struct world *w, raft_index index)
{
    struct model *model = NEW(struct model);
    for (size_t i = 0; i < w->acked_count; i++) {
        model_write(model, &w->steps[i].write);
    }
    raft_term term = model->terms[index];
    mem_free(model);
    return term;
}

/* The snapshot file, then its record, then old files go. */
static void take_snapshot(struct world *w)
{
    struct errbuf why;
    size_t removed;
    drain(w);
    w->commit = w->last;
    if (w->commit == 0 || w->commit == w->acked_snapshot) {
        return;
    }
    struct raft_hard_state state = {.term = w->term, .vote = w->term % 3 + 1, .commit = w->commit};
    struct snap snap = {.index = w->commit, .term = term_at(w, w->commit), .data = SLICE("{}")};
    wal_defer_state(w->wal, &state);
    must(snap_save(w->disk, "/member/snap", &snap, &why), &why);
    struct step *step = new_step(w);
    step->snapshot = (struct wal_snapshot){.index = snap.index, .term = snap.term};
    step->write.snapshot = &step->snapshot;
    submit(w, step);
    drain(w);
    wal_release_to(w->wal, snap.index);
    must(wal_purge(w->disk, "/member/wal", 2, &removed, &why), &why);
    must(snap_purge(w->disk, "/member/snap", 2, &removed, &why), &why);
}

static void run_workload(struct world *w)
{
    struct errbuf why;
    struct wal_contents contents;
    struct wal_config config = {
        .env = w->env, .dir = "/member/wal", .segment_bytes = SEGMENT_BYTES};
    must(disk_mkdir_all(w->disk, "/member/snap", 0700, &why), &why);
    must(disk_sync_dir(w->disk, "/member", &why), &why);
    must(disk_sync_dir(w->disk, "/", &why), &why);
    must(wal_create(w->disk, "/member/wal", SLICE("\x08\x01\x10\x02"), SEGMENT_BYTES, &why), &why);
    w->is_created = true;
    must(wal_open(&config, (struct wal_position){0}, &w->wal, &contents, &why), &why);
    wal_contents_fini(&contents);
    for (size_t i = 0; i < STEPS; i++) {
        append_some(w);
        if (sim_rng_chance(&w->rng, 50)) { /* else the next one gathers behind it */
            drain(w);
            w->commit = w->last - sim_rng_below(&w->rng, w->last - w->commit + 1);
        }
        if (sim_rng_chance(&w->rng, 15)) {
            take_snapshot(w);
        }
    }
    drain(w);
}

static void crash_everywhere(uint64_t seed, enum sim_crash policy)
{
    struct world w = {.seed = seed, .policy = policy, .term = 1};
    sim_rng_init(&w.rng, seed);
    w.steps = mem_array(WRITES_MAX, sizeof(w.steps[0]));
    w.disk = sim_disk_new();
    w.env = sim_env_new(seed, w.disk);
    w.loop = loop_new(w.env);
    sim_disk_on_op(w.disk, on_op, &w);
    run_workload(&w);
    assert_true(w.crashes > 100);
    struct wal_stats stats;
    wal_stats(w.wal, &stats);
    assert_true(stats.cuts > 1);
    sim_disk_on_op(w.disk, NULL, NULL);
    wal_close(&w.wal);
    for (size_t i = 0; i < w.step_count; i++) {
        for (size_t k = 0; k < w.steps[i].write.entry_count; k++) {
            raft_payload_unref(&w.steps[i].entries[k].payload);
        }
    }
    mem_free(w.steps);
    loop_free(&w.loop);
    sim_env_free(&w.env);
    sim_disk_free(&w.disk);
}

#define SEEDS 6

TEST(wal_crash, nothing_acknowledged_is_lost_when_all_that_is_unsynced_is)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        crash_everywhere(seed, SIM_CRASH_LOSE);
    }
}

TEST(wal_crash, nothing_acknowledged_is_lost_when_only_the_process_dies)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        crash_everywhere(seed, SIM_CRASH_KEEP);
    }
}

TEST(wal_crash, nothing_acknowledged_is_lost_when_the_last_write_is_torn)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        crash_everywhere(seed, SIM_CRASH_TEAR);
    }
}

TEST(wal_crash, nothing_acknowledged_is_lost_when_sectors_and_names_survive_in_any_order)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        crash_everywhere(seed, SIM_CRASH_REORDER);
    }
}

/* ---- a kill, a start, and then a power cut -----------------------------------------------------
 */

struct start {
    struct env *env;
    struct loop *loop;
    struct wal *wal;
    struct raft_hard_state found;
};

static struct start start_on(struct disk *disk)
{
    struct start start = {.env = sim_env_new(1, disk)};
    struct wal_config config = {.env = start.env, .dir = "/wal", .segment_bytes = SEGMENT_BYTES};
    struct wal_contents contents;
    struct errbuf why = {""};
    start.loop = loop_new(start.env);
    if (wal_open(&config, (struct wal_position){0}, &start.wal, &contents, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    start.found = contents.hard_state;
    wal_contents_fini(&contents);
    return start;
}

static void start_fini(struct start *start)
{
    wal_close(&start->wal);
    loop_free(&start->loop);
    sim_env_free(&start->env);
}

static void nothing_done(struct wal_write *write)
{
    UNUSED(write);
}

/* A vote that a start has read is one it will stand by, so it must not be lost after that. */
TEST(wal_crash, what_a_start_has_read_of_a_killed_process_is_durable)
{
    struct disk *disk = sim_disk_new();
    assert_int_equal(wal_create(disk, "/wal", SLICE("m"), SEGMENT_BYTES, NULL), ERR_OK);
    struct start first = start_on(disk);
    struct wal_write write = {
        .has_hard_state = true, .hard_state = {.term = 5, .vote = 2}, .done = nothing_done};
    wal_append(first.wal, &write); /* written; whether it is synced is nobody's business yet */
    while (!wal_is_idle(first.wal)) {
        loop_turn(first.loop, true);
    }
    struct disk *lost = sim_disk_clone(disk);
    sim_disk_crash(lost, SIM_CRASH_LOSE, 1);
    struct start without = start_on(lost);
    assert_int_equal(without.found.vote, 0); /* it was not */
    start_fini(&without);
    sim_disk_free(&lost);
    struct disk *killed = sim_disk_clone(disk);
    sim_disk_kill(killed);
    struct start second = start_on(killed);
    assert_int_equal(second.found.vote, 2);
    struct disk *cut = sim_disk_clone(killed);
    sim_disk_crash(cut, SIM_CRASH_LOSE, 1);
    struct start third = start_on(cut);
    assert_int_equal(third.found.term, 5);
    assert_int_equal(third.found.vote, 2);
    start_fini(&third);
    start_fini(&second);
    start_fini(&first);
    sim_disk_free(&cut);
    sim_disk_free(&killed);
    sim_disk_free(&disk);
}
