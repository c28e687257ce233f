#include "state/lease.h"

#include "base/mem.h"
#include "state/mvcc.h"
#include "storage/manual_env.h"
#include "unit.h"

#include <stdio.h>

/* lease_fuzz.c: random operations against a plain model. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define S NS_PER_SEC
#define MIN 2

struct fixture {
    struct manual_env manual;
    struct backend *backend;
    struct mvcc *mvcc;
    struct lessor *lessor;
    char *path;
    uint64_t index;
    uint64_t now;
};

static void open_all(struct fixture *f)
{
    struct errbuf why = {.text = ""};
    manual_env_init(&f->manual, NULL);
    struct backend_options backend = {.env = &f->manual.env, .path = f->path, .no_sync = true};
    assert_int_equal(backend_open(&backend, &f->backend, &why), ERR_OK);
    struct lessor_options options = {.backend = f->backend, .ttl_min = MIN, .seed = 1};
    assert_int_equal(lessor_open(&options, &f->lessor, &why), ERR_OK);
    struct mvcc_options mvcc = {
        .backend = f->backend,
        .hooks = {.ctx = f->lessor, .attach = lessor_attach},
    };
    assert_int_equal(mvcc_open(&mvcc, &f->mvcc, &why), ERR_OK);
    lessor_advance(f->lessor, f->now);
}

static void close_all(struct fixture *f)
{
    lessor_check(f->lessor);
    mvcc_close(&f->mvcc);
    lessor_close(&f->lessor);
    backend_close(&f->backend);
}

static void setup(struct fixture *f)
{
    *f = (struct fixture){.path = mem_printf("%s/db", test_dir()), .now = 100 * S};
    open_all(f);
}

static void teardown(struct fixture *f)
{
    close_all(f);
    mem_free(f->path);
}

static void restart(struct fixture *f)
{
    close_all(f);
    open_all(f);
}

static void begin(struct fixture *f)
{
    backend_begin(f->backend);
}

static void end(struct fixture *f)
{
    backend_end(f->backend, ++f->index, 1);
}

static void advance(struct fixture *f, uint64_t ns)
{
    f->now += ns;
    lessor_advance(f->lessor, f->now);
}

static enum err try_grant(struct fixture *f, lease_id id, int64_t ttl, int64_t *granted)
{
    begin(f);
    enum err err = lessor_grant(f->lessor, id, ttl, granted);
    end(f);
    return err;
}

static void grant(struct fixture *f, lease_id id, int64_t ttl)
{
    int64_t granted;
    assert_int_equal(try_grant(f, id, ttl, &granted), ERR_OK);
}

static void revoke(struct fixture *f, lease_id id)
{
    begin(f);
    lessor_revoke(f->lessor, id);
    end(f);
}

static void checkpoint(struct fixture *f, lease_id id, int64_t left, bool persists)
{
    begin(f);
    lessor_checkpoint(f->lessor, id, left, persists);
    end(f);
}

static void put(struct fixture *f, const char *key, lease_id lease)
{
    begin(f);
    mvcc_begin(f->mvcc);
    mvcc_put(f->mvcc, slice_str(key), SLICE("v"), lease);
    mvcc_end(f->mvcc);
    end(f);
}

static bool append_key(void *ctx, struct slice key)
{
    struct buf *out = ctx;
    buf_append_slice(out, key);
    buf_append_byte(out, ' ');
    return true;
}

#define assert_keys(f, id, want)                                                                   \
    do {                                                                                           \
        struct buf keys_ = {0};                                                                    \
        lessor_keys((f)->lessor, id, SLICE_EMPTY, append_key, &keys_);                             \
        assert_string_equal(buf_cstr(&keys_), want);                                               \
        buf_fini(&keys_);                                                                          \
    } while (0)

static struct lease_info info_of(struct fixture *f, lease_id id)
{
    struct lease_info info;
    assert_true(lessor_get(f->lessor, id, &info));
    return info;
}

static int64_t remaining(struct fixture *f, lease_id id)
{
    struct lease_info info = info_of(f, id);
    return lessor_remaining_s(f->lessor, &info);
}

static enum lease_renewal renew(struct fixture *f, lease_id id)
{
    int64_t ttl;
    return lessor_renew(f->lessor, id, &ttl);
}

/* Everything that is over, whatever the window. */
static size_t expire_all(struct fixture *f, lease_id *out, size_t max)
{
    size_t count = 0;
    while (count < max && lessor_due(f->lessor) <= f->now) {
        lessor_step(f->lessor);
        count += lessor_expire(f->lessor, SIZE_MAX, out + count, max - count);
    }
    return count;
}

/* ---- grant, revoke --------------------------------------------------------------------------- */

TEST(lease, a_grant_is_a_row_and_a_revoke_takes_it_away)
{
    struct fixture f;
    struct slice row;
    int64_t granted;
    uint8_t key[8];
    setup(&f);
    assert_int_equal(try_grant(&f, 300, 60, &granted), ERR_OK);
    assert_int_equal(granted, 60);
    put_be64(key, 300);
    assert_true(backend_get(f.backend, BUCKET_LEASE, slice_of(key, 8), &row));
    assert_true(slice_eq(row, SLICE("\x08\xac\x02\x10\x3c"))); /* as Go writes it */
    revoke(&f, 300);
    assert_false(backend_get(f.backend, BUCKET_LEASE, slice_of(key, 8), &row));
    assert_false(lessor_has(f.lessor, 300));
    teardown(&f);
}

TEST(lease, a_grant_is_refused_as_etcd_refuses_it)
{
    struct fixture f;
    int64_t granted = -7;
    setup(&f);
    grant(&f, 5, 60);
    assert_int_equal(try_grant(&f, 5, 60, &granted), ERR_EXISTS);
    assert_int_equal(try_grant(&f, 0, 60, &granted), ERR_NOT_FOUND);
    assert_int_equal(try_grant(&f, 6, LEASE_TTL_MAX + 1, &granted), ERR_TOO_LARGE);
    assert_int_equal(granted, -7);
    assert_false(lessor_has(f.lessor, 0));
    assert_false(lessor_has(f.lessor, 6));
    assert_int_equal(try_grant(&f, 6, LEASE_TTL_MAX, &granted), ERR_OK);
    assert_int_equal(granted, LEASE_TTL_MAX);
    teardown(&f);
}

TEST(lease, d2_no_lease_is_shorter_than_the_least_time)
{
    struct fixture f;
    const int64_t asked[] = {1, 0, -1, INT64_MIN, 2, 3};
    setup(&f);
    for (int64_t i = 0; i < (int64_t)ARRAY_LEN(asked); i++) {
        int64_t granted;
        assert_int_equal(try_grant(&f, i + 1, asked[i], &granted), ERR_OK);
        assert_int_equal(granted, asked[i] < MIN ? MIN : asked[i]);
    }
    teardown(&f);
}

/* etcd read the bucket from id 0 up and lost the negative ones at a restart (PR 14239). */
TEST(lease, d2_a_negative_id_survives_a_restart_with_its_keys)
{
    struct fixture f;
    const lease_id ids[] = {-1, INT64_MIN, INT64_MAX, 1};
    char key[8];
    setup(&f);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        grant(&f, ids[i], 60);
        snprintf(key, sizeof(key), "k%zu", i);
        put(&f, key, ids[i]);
    }
    restart(&f);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        snprintf(key, sizeof(key), "k%zu ", i);
        assert_keys(&f, ids[i], key);
    }
    teardown(&f);
}

TEST(lease, a_row_that_is_no_lease_is_a_damaged_database)
{
    const struct slice rows[] = {
        SLICE("\x08"),             /* cut off */
        SLICE("\x08\x4e\x10\x3c"), /* of another lease */
        SLICE(""),
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        struct errbuf why = {.text = ""};
        struct lessor *second = NULL;
        uint8_t key[8];
        setup(&f);
        put_be64(key, 77);
        begin(&f);
        backend_put(f.backend, BUCKET_LEASE, slice_of(key, 8), rows[i]);
        end(&f);
        struct lessor_options options = {.backend = f.backend, .ttl_min = MIN};
        assert_int_equal(lessor_open(&options, &second, &why), ERR_CORRUPT);
        assert_non_null(strstr(why.text, "bucket lease"));
        teardown(&f);
    }
}

/* ---- keys ------------------------------------------------------------------------------------ */

TEST(lease, d4_a_key_hangs_on_the_lease_of_its_last_put)
{
    struct fixture f;
    setup(&f);
    grant(&f, 1, 60);
    grant(&f, 2, 60);
    put(&f, "b", 1);
    put(&f, "a", 1);
    put(&f, "c", 1);
    assert_keys(&f, 1, "a b c ");
    put(&f, "b", 2);
    assert_keys(&f, 1, "a c ");
    assert_keys(&f, 2, "b ");
    put(&f, "a", 0);
    assert_keys(&f, 1, "c ");
    put(&f, "c", 1);
    assert_keys(&f, 1, "c ");
    restart(&f);
    assert_keys(&f, 1, "c ");
    assert_keys(&f, 2, "b ");
    teardown(&f);
}

TEST(lease, d4_a_deleted_key_hangs_on_no_lease)
{
    struct fixture f;
    setup(&f);
    grant(&f, 1, 60);
    put(&f, "a", 1);
    put(&f, "b", 1);
    begin(&f);
    mvcc_begin(f.mvcc);
    struct key_range range = key_range_of(SLICE("a"), SLICE_EMPTY);
    assert_int_equal(mvcc_delete(f.mvcc, &range), 1);
    mvcc_end(f.mvcc);
    end(&f);
    assert_keys(&f, 1, "b ");
    restart(&f);
    assert_keys(&f, 1, "b ");
    put(&f, "a", 0);
    assert_keys(&f, 1, "b ");
    teardown(&f);
}

TEST(lease, keys_of_a_lease_that_is_gone_stay_behind)
{
    struct fixture f;
    setup(&f);
    put(&f, "a", 9); /* as a log of another etcd may have it */
    assert_false(lessor_has(f.lessor, 9));
    restart(&f);
    struct lessor_stats stats;
    lessor_stats(f.lessor, &stats);
    assert_int_equal(stats.keys, 0);
    teardown(&f);
}

/* ---- time ------------------------------------------------------------------------------------ */

TEST(lease, nothing_ends_without_a_primary)
{
    struct fixture f;
    lease_id id;
    setup(&f);
    grant(&f, 1, 10);
    assert_int_equal(lessor_due(f.lessor), UINT64_MAX);
    advance(&f, 1000 * S);
    assert_int_equal(expire_all(&f, &id, 1), 0);
    assert_int_equal(remaining(&f, 1), INT64_MAX / 1000000000);
    teardown(&f);
}

TEST(lease, it_ends_at_its_time_and_not_before)
{
    struct fixture f;
    lease_id id;
    setup(&f);
    lessor_promote(f.lessor, 0);
    grant(&f, 1, 10);
    lessor_step(f.lessor);
    assert_int_equal(lessor_due(f.lessor), f.now + 10 * S);
    advance(&f, 10 * S - 1);
    assert_int_equal(remaining(&f, 1), 0);
    assert_int_equal(expire_all(&f, &id, 1), 0);
    advance(&f, 1);
    assert_int_equal(expire_all(&f, &id, 1), 1);
    assert_int_equal(id, 1);
    assert_true(lessor_has(f.lessor, 1)); /* until the log says so */
    revoke(&f, 1);
    struct lessor_stats stats;
    lessor_stats(f.lessor, &stats);
    assert_int_equal(stats.expired, 1);
    assert_int_equal(stats.ending, 0);
    teardown(&f);
}

TEST(lease, a_renewal_starts_its_time_again)
{
    struct fixture f;
    lease_id id;
    int64_t ttl = 0;
    setup(&f);
    lessor_promote(f.lessor, 0);
    grant(&f, 1, 10);
    for (unsigned i = 0; i < 5; i++) {
        advance(&f, 9 * S);
        assert_int_equal(expire_all(&f, &id, 1), 0);
        assert_int_equal(lessor_renew(f.lessor, 1, &ttl), LEASE_RENEWED);
        assert_int_equal(ttl, 10);
        assert_int_equal(remaining(&f, 1), 10);
    }
    advance(&f, 10 * S);
    assert_int_equal(expire_all(&f, &id, 1), 1);
    assert_int_equal(lessor_renew(f.lessor, 2, &ttl), LEASE_UNKNOWN);
    teardown(&f);
}

TEST(lease, d1_once_it_was_sent_to_its_end_no_renewal_saves_it)
{
    struct fixture f;
    lease_id id;
    setup(&f);
    lessor_promote(f.lessor, 0);
    grant(&f, 1, 10);
    advance(&f, 11 * S);
    assert_int_equal(expire_all(&f, &id, 1), 1);
    assert_int_equal(renew(&f, 1), LEASE_ENDING);
    advance(&f, 1 * S);
    assert_int_equal(renew(&f, 1), LEASE_ENDING);
    revoke(&f, 1);
    assert_int_equal(renew(&f, 1), LEASE_UNKNOWN);
    teardown(&f);
}

/* After a pause the keep-alives that lay in the sockets come before the timers. */
TEST(lease, d5_a_renewal_that_comes_before_the_end_was_sent_saves_it)
{
    struct fixture f;
    lease_id id;
    setup(&f);
    lessor_promote(f.lessor, 0);
    grant(&f, 1, 10);
    advance(&f, 30 * S);
    assert_int_equal(renew(&f, 1), LEASE_RENEWED);
    assert_int_equal(expire_all(&f, &id, 1), 0);
    assert_int_equal(remaining(&f, 1), 10);
    teardown(&f);
}

TEST(lease, d5_time_that_goes_back_changes_nothing)
{
    struct fixture f;
    lease_id id;
    setup(&f);
    lessor_promote(f.lessor, 0);
    grant(&f, 1, 10);
    advance(&f, 5 * S);
    lessor_advance(f.lessor, f.now - 90 * S);
    assert_int_equal(remaining(&f, 1), 5);
    advance(&f, 5 * S);
    assert_int_equal(expire_all(&f, &id, 1), 1);
    teardown(&f);
}

TEST(lease, an_end_that_got_lost_is_named_again)
{
    struct fixture f;
    lease_id id;
    setup(&f);
    lessor_promote(f.lessor, 0);
    grant(&f, 1, 10);
    advance(&f, 10 * S);
    assert_int_equal(expire_all(&f, &id, 1), 1);
    advance(&f, LEASE_RETRY_S * S - 1);
    assert_int_equal(expire_all(&f, &id, 1), 0);
    advance(&f, 1);
    assert_int_equal(expire_all(&f, &id, 1), 1);
    struct lessor_stats stats;
    lessor_stats(f.lessor, &stats);
    assert_int_equal(stats.ending, 1); /* counted once */
    teardown(&f);
}

TEST(lease, ends_come_by_deadline_then_by_id_as_many_as_the_window_lets)
{
    struct fixture f;
    lease_id ids[8];
    setup(&f);
    lessor_promote(f.lessor, 0);
    grant(&f, 9, 10);
    grant(&f, 4, 10);
    grant(&f, -3, 10);
    grant(&f, 7, 5);
    put(&f, "a", 4);
    put(&f, "b", 4);
    put(&f, "c", 4);
    advance(&f, 11 * S);
    lessor_step(f.lessor);
    assert_int_equal(lessor_expire(f.lessor, 3, ids, 8), 2);
    assert_int_equal(ids[0], 7);
    assert_int_equal(ids[1], -3);
    assert_int_equal(lessor_expire(f.lessor, 3, ids, 8), 0);
    revoke(&f, 7);
    revoke(&f, -3);
    assert_int_equal(lessor_expire(f.lessor, 3, ids, 8), 1); /* with its keys too large: alone */
    assert_int_equal(ids[0], 4);
    assert_int_equal(lessor_expire(f.lessor, 3, ids, 8), 0);
    revoke(&f, 4);
    assert_int_equal(lessor_expire(f.lessor, 3, ids, 8), 1);
    assert_int_equal(ids[0], 9);
    teardown(&f);
}

/* ---- primaries ------------------------------------------------------------------------------- */

TEST(lease, d2_a_new_primary_shortens_no_lease)
{
    struct fixture f;
    lease_id id;
    setup(&f);
    grant(&f, 1, 10);
    grant(&f, 2, 20);
    lessor_promote(f.lessor, 1 * S);
    advance(&f, 9 * S);
    lessor_demote(f.lessor);
    advance(&f, 500 * S); /* nobody leads */
    lessor_promote(f.lessor, 1 * S);
    assert_int_equal(remaining(&f, 1), 11); /* its time, and the grace */
    advance(&f, 11 * S - 1);
    assert_int_equal(expire_all(&f, &id, 1), 0);
    advance(&f, 1);
    assert_int_equal(expire_all(&f, &id, 1), 1);
    assert_int_equal(id, 1);
    assert_int_equal(remaining(&f, 2), 10);
    teardown(&f);
}

TEST(lease, d1_a_primary_that_was_is_told_nothing_to_revoke)
{
    struct fixture f;
    lease_id id;
    setup(&f);
    lessor_promote(f.lessor, 0);
    grant(&f, 1, 10);
    advance(&f, 10 * S);
    assert_int_equal(expire_all(&f, &id, 1), 1);
    lessor_demote(f.lessor);
    advance(&f, 10 * S);
    assert_int_equal(lessor_due(f.lessor), UINT64_MAX);
    assert_int_equal(expire_all(&f, &id, 1), 0);
    lessor_promote(f.lessor, 0); /* and the end of its earlier reign is forgotten */
    assert_int_equal(renew(&f, 1), LEASE_RENEWED);
    teardown(&f);
}

TEST(lease, a_renewal_ends_the_grace)
{
    struct fixture f;
    setup(&f);
    grant(&f, 1, 10);
    lessor_promote(f.lessor, 5 * S);
    lessor_step(f.lessor);
    assert_int_equal(lessor_due(f.lessor), f.now + 15 * S);
    assert_int_equal(renew(&f, 1), LEASE_RENEWED);
    assert_int_equal(lessor_due(f.lessor), f.now + 10 * S);
    teardown(&f);
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

TEST(lease, d2_a_checkpoint_survives_a_change_of_the_primary_and_a_restart)
{
    struct fixture f;
    struct lease_left left[4];
    setup(&f);
    lessor_promote(f.lessor, 0);
    grant(&f, 1, 1000);
    grant(&f, 2, LEASE_CHECKPOINT_S); /* too short for one */
    lessor_step(f.lessor);
    advance(&f, LEASE_CHECKPOINT_S * S - 1);
    assert_int_equal(lessor_checkpoints(f.lessor, left, 4), 0);
    advance(&f, 1);
    assert_int_equal(lessor_checkpoints(f.lessor, left, 4), 1);
    assert_int_equal(left[0].id, 1);
    assert_int_equal(left[0].left, 1000 - LEASE_CHECKPOINT_S);
    assert_int_equal(lessor_checkpoints(f.lessor, left, 4), 0); /* it is on its way */
    checkpoint(&f, 1, left[0].left, true);
    lessor_demote(f.lessor);
    lessor_promote(f.lessor, 0);
    assert_int_equal(remaining(&f, 1), 700);
    restart(&f);
    lessor_promote(f.lessor, 0);
    assert_int_equal(remaining(&f, 1), 700);
    assert_int_equal(info_of(&f, 1).ttl, 1000);
    advance(&f, LEASE_CHECKPOINT_S * S); /* and goes on from there */
    lessor_step(f.lessor);
    assert_int_equal(lessor_checkpoints(f.lessor, left, 4), 1);
    assert_int_equal(left[0].left, 400);
    teardown(&f);
}

TEST(lease, d2_nothing_is_checkpointed_after_the_primary_stepped_down)
{
    struct fixture f;
    struct lease_left left[4];
    setup(&f);
    lessor_promote(f.lessor, 0);
    grant(&f, 1, 1000);
    lessor_step(f.lessor);
    lessor_demote(f.lessor);
    advance(&f, 2 * LEASE_CHECKPOINT_S * S);
    assert_int_equal(lessor_checkpoints(f.lessor, left, 4), 0);
    teardown(&f);
}

TEST(lease, a_lease_that_is_renewed_in_time_costs_no_checkpoint)
{
    struct fixture f;
    struct lease_left left[4];
    setup(&f);
    lessor_promote(f.lessor, 0);
    grant(&f, 1, 600);
    lessor_step(f.lessor);
    for (unsigned i = 0; i < 20; i++) {
        advance(&f, 200 * S);
        assert_int_equal(lessor_checkpoints(f.lessor, left, 4), 0);
        assert_int_equal(renew(&f, 1), LEASE_RENEWED);
    }
    teardown(&f);
}

TEST(lease, d2_a_renewal_waits_until_its_checkpoint_is_cleared)
{
    struct fixture f;
    setup(&f);
    lessor_promote(f.lessor, 0);
    grant(&f, 1, 1000);
    checkpoint(&f, 1, 400, true);
    assert_int_equal(renew(&f, 1), LEASE_CLEAR);
    assert_int_equal(renew(&f, 1), LEASE_CLEARING);
    checkpoint(&f, 1, 0, true);
    assert_int_equal(renew(&f, 1), LEASE_RENEWED);
    restart(&f);
    lessor_promote(f.lessor, 0);
    assert_int_equal(remaining(&f, 1), 1000);
    teardown(&f);
}

/* A row of another etcd, or an entry of its log, may say anything. */
TEST(lease, times_of_others_meet_the_bound)
{
    struct fixture f;
    lease_id id;
    setup(&f);
    lessor_promote(f.lessor, 0);
    grant(&f, 1, 10);
    checkpoint(&f, 1, INT64_MAX, true);
    checkpoint(&f, 77, 5, true); /* unknown: passed over */
    lessor_demote(f.lessor);
    lessor_promote(f.lessor, 1 * S);
    assert_int_equal(remaining(&f, 1), LEASE_TTL_MAX + 1);
    checkpoint(&f, 1, INT64_MIN, true);
    restart(&f);
    lessor_promote(f.lessor, 0);
    assert_int_equal(remaining(&f, 1), 10);
    advance(&f, 10 * S);
    assert_int_equal(expire_all(&f, &id, 1), 1);
    teardown(&f);
}

/* ---- many ------------------------------------------------------------------------------------ */

static uint64_t bytes_of(struct fixture *f)
{
    struct lessor_stats stats;
    lessor_stats(f->lessor, &stats);
    return stats.bytes;
}

TEST(lease, a_hundred_thousand_leases_cost_little_and_end_in_small_slices)
{
    enum { COUNT = 100000, WINDOW = 512 };
    struct fixture f;
    lease_id ids[WINDOW];
    setup(&f);
    lessor_promote(f.lessor, 0);
    begin(&f);
    for (lease_id id = 1; id <= COUNT; id++) {
        int64_t granted;
        assert_int_equal(lessor_grant(f.lessor, id, 10, &granted), ERR_OK);
    }
    end(&f);
    assert_true(bytes_of(&f) / COUNT < 128);
    advance(&f, 5 * S);
    for (lease_id id = 1; id <= COUNT / 2; id++) {
        assert_int_equal(renew(&f, id), LEASE_RENEWED);
    }
    advance(&f, 5 * S); /* half of them end */
    size_t ended = 0;
    unsigned slices = 0;
    while (lessor_due(f.lessor) <= f.now) {
        lessor_step(f.lessor);
        size_t count = lessor_expire(f.lessor, WINDOW, ids, WINDOW);
        for (size_t i = 0; i < count; i++) {
            revoke(&f, ids[i]);
        }
        ended += count;
        slices++;
        assert_true(slices < 1000);
    }
    assert_int_equal(ended, COUNT / 2);
    struct lessor_stats stats;
    lessor_stats(f.lessor, &stats);
    assert_int_equal(stats.leases, COUNT / 2);
    assert_int_equal(stats.expired, COUNT / 2);
    lessor_check(f.lessor);
    /* A new primary gives them their time in slices, and whoever asks has it at once. */
    lessor_demote(f.lessor);
    lessor_promote(f.lessor, 0);
    assert_int_equal(lessor_due(f.lessor), 0);
    assert_int_equal(remaining(&f, 1), 10);
    advance(&f, 2 * S);
    for (slices = 0; lessor_due(f.lessor) <= f.now; slices++) {
        assert_true(slices < 200);
        lessor_step(f.lessor);
    }
    assert_true(slices > 20);
    assert_int_equal(remaining(&f, 2), 8); /* since the promotion */
    teardown(&f);
}

TEST(lease, ten_thousand_of_a_million_end_in_one_second_and_in_small_slices)
{
    enum { COUNT = 1000000, ENDING = 10000, WINDOW = 512, PART = 10000 };
    struct fixture f;
    lease_id ids[WINDOW];
    setup(&f);
    lessor_promote(f.lessor, 0);
    for (lease_id id = 1; id <= COUNT; id++) {
        int64_t granted;
        if (id % PART == 1) {
            begin(&f);
        }
        /* The hundredth part, spread among the others, ends within one second. */
        int64_t ttl = id % (COUNT / ENDING) == 0 ? 60 : 86400;
        assert_int_equal(lessor_grant(f.lessor, id, ttl, &granted), ERR_OK);
        if (id % PART == 0) {
            end(&f);
            manual_settle(&f.manual);
            advance(&f, NS_PER_SEC / (COUNT / PART) - 1);
        }
    }
    assert_true(bytes_of(&f) / COUNT < 128);
    advance(&f, 59 * S);
    while (lessor_due(f.lessor) <= f.now) { /* what the promotion has put off */
        lessor_step(f.lessor);
        assert_int_equal(lessor_expire(f.lessor, WINDOW, ids, WINDOW), 0);
    }
    size_t ended = 0;
    unsigned slices = 0;
    for (unsigned ms = 0; ms < 1000; ms++) {
        advance(&f, NS_PER_SEC / 1000);
        while (lessor_due(f.lessor) <= f.now) {
            lessor_step(f.lessor);
            size_t count = lessor_expire(f.lessor, WINDOW, ids, WINDOW);
            assert_true(count <= WINDOW);
            begin(&f);
            for (size_t i = 0; i < count; i++) {
                assert_int_equal(ids[i] % (COUNT / ENDING), 0);
                lessor_revoke(f.lessor, ids[i]);
            }
            end(&f);
            ended += count;
            slices++;
        }
    }
    assert_int_equal(ended, ENDING);
    assert_true(slices >= 50); /* never many at once, for they were granted one after the other */
    struct lessor_stats stats;
    lessor_stats(f.lessor, &stats);
    assert_int_equal(stats.leases, COUNT - ENDING);
    assert_int_equal(stats.expired, ENDING);
    teardown(&f);
}

TEST(lease, many_keys_on_one_lease_come_out_in_order)
{
    enum { COUNT = 20000 };
    struct fixture f;
    char text[16];
    char last[16] = "";
    struct slice key;
    setup(&f);
    grant(&f, 1, 60);
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(text, sizeof(text), "%05u", i * 7919 % COUNT);
        lessor_attach(f.lessor, slice_str(text), 1);
    }
    assert_int_equal(info_of(&f, 1).key_count, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_true(lessor_first_key(f.lessor, 1, &key));
        snprintf(text, sizeof(text), "%.*s", (int)key.len, (const char *)key.data);
        assert_true(strcmp(last, text) < 0);
        memcpy(last, text, sizeof(last));
        lessor_attach(f.lessor, slice_str(text), 0);
    }
    assert_false(lessor_first_key(f.lessor, 1, &key));
    teardown(&f);
}

TEST(lease, agrees_with_the_model)
{
    uint64_t state = 0x9e3779b97f4a7c15;
    uint8_t data[1500];
    for (unsigned run = 0; run < 25; run++) {
        for (size_t i = 0; i < sizeof(data); i++) {
            state = state * 6364136223846793005 + 1442695040888963407;
            data[i] = (uint8_t)(state >> 56);
        }
        data[0] = 0;
        assert_int_equal(LLVMFuzzerTestOneInput(data, sizeof(data)), 0);
    }
}
