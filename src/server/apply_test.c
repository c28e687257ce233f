/* Everything that is applied but transactions (apply_txn_test.c). */
#include "server/apply_run.h"

/* ---- range ----------------------------------------------------------------------------------- */

#define RANGE(...) (&(Etcdserverpb__RangeRequest){ETCDSERVERPB_RANGE_DEFAULTS, __VA_ARGS__})
#define ETCDSERVERPB_RANGE_DEFAULTS                                                                \
    .base = PROTOBUF_C_MESSAGE_INIT(&etcdserverpb__range_request__descriptor)
#define KEY(text)                                                                                  \
    {                                                                                              \
        .len = sizeof(text) - 1, .data = (uint8_t *)(uintptr_t)(text)                              \
    }
#define ALL .key = KEY("a"), .range_end = KEY("z")
#define ORDER(name) .sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__##name
#define TARGET(name) .sort_target = ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__##name

#define assert_range(run, request, answer) assert_string_equal(run_range(run, request), answer)

/* a = 3 (create 2, mod 2, version 1), b = 1 (3, 6, 2), c = 2 (4, 4, 1), d = 1 (5, 7, 2) */
static void fill(struct run *run)
{
    static const char *const puts[] = {"pa3", "pb9", "pc2", "pd9", "pb1", "pd1"};
    run_open(run);
    for (size_t i = 0; i < ARRAY_LEN(puts); i++) {
        run_do(run, puts[i]);
    }
}

TEST(apply, a_range_is_half_open_and_counts_all_of_it)
{
    struct run run;
    fill(&run);
    assert_do(&run, "ga", "[a=3 #1]@7");
    assert_do(&run, "gx", "[#0]@7");
    assert_do(&run, "ga-c", "[a=3 b=1 #2]@7");
    assert_do(&run, "gb-0", "[b=1 c=2 d=1 #3]@7");
    assert_do(&run, "gc-a", "[#0]@7");
    assert_range(&run, RANGE(.key = KEY("\0"), .range_end = KEY("\0")), "[a=3 b=1 c=2 d=1 #4]@7");
    assert_range(&run, RANGE(.key = KEY("")), "[#0]@7");
    run_close(&run);
}

TEST(apply, the_header_says_who_answers)
{
    struct run run;
    struct slice reply;
    Etcdserverpb__RangeResponse *range;
    fill(&run);
    assert_int_equal(apply_range(run.apply, RANGE(ALL), &run.arena, &reply), STATUS_OK);
    assert_int_equal(
        pb_decode(&run.arena, &etcdserverpb__range_response__descriptor, reply, &range, NULL),
        ERR_OK);
    assert_int_equal(range->header->cluster_id, RUN_CLUSTER);
    assert_int_equal(range->header->member_id, RUN_MEMBER);
    assert_int_equal(range->header->revision, 7);
    assert_int_equal(range->header->raft_term, RUN_TERM);
    run_close(&run);
}

TEST(apply, a_limit_cuts_and_says_so)
{
    struct run run;
    fill(&run);
    assert_range(&run, RANGE(ALL, .limit = 1), "[a=3 #4 more]@7");
    assert_range(&run, RANGE(ALL, .limit = 3), "[a=3 b=1 c=2 #4 more]@7");
    assert_range(&run, RANGE(ALL, .limit = 4), "[a=3 b=1 c=2 d=1 #4]@7");
    assert_range(&run, RANGE(ALL, .limit = 5), "[a=3 b=1 c=2 d=1 #4]@7");
    assert_range(&run, RANGE(ALL, .limit = INT64_MAX), "[a=3 b=1 c=2 d=1 #4]@7");
    assert_range(&run, RANGE(ALL, .limit = -1), "[a=3 b=1 c=2 d=1 #4]@7");
    assert_range(&run, RANGE(ALL, .limit = INT64_MIN), "[a=3 b=1 c=2 d=1 #4]@7");
    assert_range(&run, RANGE(ALL, .limit = 1, .count_only = true), "[#4]@7");
    run_close(&run);
}

TEST(apply, keys_only_leaves_the_value_out_and_nothing_else)
{
    struct run run;
    fill(&run);
    run.shows_rows = true;
    assert_range(&run, RANGE(ALL, .keys_only = true, .limit = 2),
                 "[a=(2,2,1) b=(3,6,2) #4 more]@7");
    assert_range(&run, RANGE(ALL, .keys_only = true, ORDER(DESCEND), TARGET(VALUE), .limit = 2),
                 "[a=(2,2,1) c=(4,4,1) #4 more]@7");
    run_close(&run);
}

TEST(apply, rows_are_sorted_by_any_target_and_ties_keep_the_order_of_keys)
{
    struct run run;
    fill(&run);
    assert_range(&run, RANGE(ALL, ORDER(DESCEND)), "[d=1 c=2 b=1 a=3 #4]@7");
    assert_range(&run, RANGE(ALL, ORDER(ASCEND)), "[a=3 b=1 c=2 d=1 #4]@7");
    assert_range(&run, RANGE(ALL, ORDER(ASCEND), TARGET(VALUE)), "[b=1 d=1 c=2 a=3 #4]@7");
    assert_range(&run, RANGE(ALL, ORDER(DESCEND), TARGET(VALUE)), "[a=3 c=2 b=1 d=1 #4]@7");
    assert_range(&run, RANGE(ALL, ORDER(ASCEND), TARGET(VERSION)), "[a=3 c=2 b=1 d=1 #4]@7");
    assert_range(&run, RANGE(ALL, ORDER(DESCEND), TARGET(VERSION)), "[b=1 d=1 a=3 c=2 #4]@7");
    assert_range(&run, RANGE(ALL, ORDER(DESCEND), TARGET(CREATE)), "[d=1 c=2 b=1 a=3 #4]@7");
    assert_range(&run, RANGE(ALL, ORDER(ASCEND), TARGET(MOD)), "[a=3 c=2 b=1 d=1 #4]@7");
    assert_range(&run, RANGE(ALL, ORDER(DESCEND), TARGET(MOD)), "[d=1 b=1 c=2 a=3 #4]@7");
    run_close(&run);
}

TEST(apply, a_sort_order_comes_before_the_limit)
{
    struct run run;
    fill(&run);
    assert_range(&run, RANGE(ALL, ORDER(DESCEND), .limit = 1), "[d=1 #4 more]@7");
    assert_range(&run, RANGE(ALL, ORDER(ASCEND), TARGET(VALUE), .limit = 2), "[b=1 d=1 #4 more]@7");
    run_close(&run);
}

/* etcd's behaviour: without an order, limit + 1 keys are fetched first and sorted then. */
TEST(apply, a_target_without_an_order_sorts_what_the_limit_let_through)
{
    struct run run;
    fill(&run);
    assert_range(&run, RANGE(ALL, TARGET(VALUE)), "[b=1 d=1 c=2 a=3 #4]@7");
    assert_range(&run, RANGE(ALL, TARGET(VALUE), .limit = 1), "[b=1 #4 more]@7");
    assert_range(&run, RANGE(ALL, TARGET(VALUE), .limit = 2), "[b=1 c=2 #4 more]@7");
    run_close(&run);
}

TEST(apply, filters_take_rows_and_not_from_the_count)
{
    struct run run;
    fill(&run);
    assert_range(&run, RANGE(ALL, .min_mod_revision = 4), "[b=1 c=2 d=1 #4]@7");
    assert_range(&run, RANGE(ALL, .max_mod_revision = 4), "[a=3 c=2 #4]@7");
    assert_range(&run, RANGE(ALL, .min_mod_revision = 4, .max_mod_revision = 6), "[b=1 c=2 #4]@7");
    assert_range(&run, RANGE(ALL, .min_create_revision = 4), "[c=2 d=1 #4]@7");
    assert_range(&run, RANGE(ALL, .max_create_revision = 3), "[a=3 b=1 #4]@7");
    assert_range(&run, RANGE(ALL, .max_mod_revision = -1), "[#4]@7");
    /* more is said of what the filter left */
    assert_range(&run, RANGE(ALL, .min_create_revision = 4, .limit = 2), "[c=2 d=1 #4]@7");
    assert_range(&run, RANGE(ALL, .min_create_revision = 4, .limit = 1), "[c=2 #4 more]@7");
    run_close(&run);
}

TEST(apply, a_range_is_as_of_its_revision)
{
    struct run run;
    fill(&run);
    assert_do(&run, "ha-03", "[a=3 b=9 #2]@7");
    assert_do(&run, "ha-01", "[#0]@7");
    assert_do(&run, "ha-07", "[a=3 b=1 c=2 d=1 #4]@7");
    assert_do(&run, "ha-08", FUTURE);
    assert_do(&run, "ha-09223372036854775807", FUTURE);
    assert_do(&run, "ha-0-5", "[a=3 b=1 c=2 d=1 #4]@7"); /* as 0 */
    run_close(&run);
}

TEST(apply, orders_and_targets_that_nobody_knows_do_no_harm)
{
    struct run run;
    fill(&run);
    Etcdserverpb__RangeRequest *request = RANGE(ALL);
    request->sort_target = (Etcdserverpb__RangeRequest__SortTarget)99;
    assert_range(&run, request, "[a=3 b=1 c=2 d=1 #4]@7");
    request->sort_target = (Etcdserverpb__RangeRequest__SortTarget)-1;
    assert_range(&run, request, "[a=3 b=1 c=2 d=1 #4]@7");
    request->sort_order = (Etcdserverpb__RangeRequest__SortOrder)99;
    assert_range(&run, request, "[a=3 b=1 c=2 d=1 #4]@7");
    run_close(&run);
}

/* ---- put ------------------------------------------------------------------------------------- */

TEST(apply, a_put_gives_the_row_before_it_when_asked)
{
    struct run run;
    run_open(&run);
    assert_do(&run, "Pa1", "P@2");
    assert_do(&run, "Pa2", "P<a=1>@3");
    assert_do(&run, "pa3", "P@4");
    run.shows_rows = true;
    assert_do(&run, "ga", "[a=3(2,4,3) #1]@4");
    run_close(&run);
}

TEST(apply, ignore_value_keeps_the_value_and_makes_a_new_version)
{
    struct run run;
    run_open(&run);
    assert_refused(&run, "ia", NO_KEY);
    run_do(&run, "pa1");
    assert_do(&run, "ia", "P@3");
    run.shows_rows = true;
    assert_do(&run, "ga", "[a=1(2,3,2) #1]@3");
    run_do(&run, "da");
    assert_refused(&run, "ia", NO_KEY);
    run_close(&run);
}

static void grant(struct run *run)
{
    int64_t ttl;
    assert_int_equal(lessor_grant(run->lessor, RUN_LEASE, 60, &ttl), ERR_OK);
}

TEST(apply, a_lease_must_exist_and_can_be_kept)
{
    struct run run;
    run_open(&run);
    assert_refused(&run, "la1", NO_LEASE);
    grant(&run);
    assert_do(&run, "la1", "P@2");
    assert_do(&run, "ga", "[a=1~77 #1]@2");
    assert_refused(&run, "Lb1", NO_KEY);
    assert_do(&run, "La2", "P@3");
    assert_do(&run, "ga", "[a=2~77 #1]@3");
    assert_do(&run, "ia", "P@4"); /* the value is kept, the lease is not */
    assert_do(&run, "ga", "[a=2 #1]@4");
    run_close(&run);
}

TEST(apply, a_put_from_the_log_without_a_key_is_refused)
{
    struct run run;
    run_open(&run);
    assert_refused(&run, "p", "etcdserver: key is not provided");
    assert_refused(&run, "d", "etcdserver: key is not provided");
    run_close(&run);
}

/* ---- delete ---------------------------------------------------------------------------------- */

TEST(apply, a_delete_counts_and_gives_what_went)
{
    struct run run;
    fill(&run);
    assert_do(&run, "dx", "D0@7"); /* nothing happened: no new revision */
    assert_do(&run, "Dx-z", "D0@7");
    assert_do(&run, "Da", "D1<a=3>@8");
    assert_do(&run, "db-d", "D2@9");
    assert_do(&run, "Da-0", "D1<d=1>@10");
    assert_do(&run, "ga-0", "[#0]@10");
    assert_do(&run, "ha-09", "[d=1 #1]@10");
    run_close(&run);
}

/* ---- compaction ------------------------------------------------------------------------------ */

static enum status compact(struct run *run, int64_t revision)
{
    Etcdserverpb__CompactionRequest request = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    struct slice reply;
    request.revision = revision;
    backend_begin(run->backend);
    enum status status = apply_compact(run->apply, &request, &run->arena, &reply);
    backend_end(run->backend, ++run->index, 1);
    return status;
}

TEST(apply, compaction_refuses_what_is_gone_and_what_is_to_come)
{
    struct run run;
    fill(&run);
    assert_int_equal(compact(&run, 8), STATUS_FUTURE_REVISION);
    assert_int_equal(compact(&run, 4), STATUS_OK);
    assert_int_equal(compact(&run, 4), STATUS_COMPACTED);
    assert_int_equal(compact(&run, 3), STATUS_COMPACTED);
    assert_int_equal(compact(&run, -1), STATUS_COMPACTED);
    assert_do(&run, "ha-03", GONE);
    assert_do(&run, "ha-04", "[a=3 b=9 c=2 #3]@7"); /* the revision itself can be read */
    while (mvcc_compact_step(run.mvcc) >= 0) {
    }
    assert_do(&run, "ha-04", "[a=3 b=9 c=2 #3]@7");
    assert_int_equal(compact(&run, 7), STATUS_OK);
    assert_do(&run, "ha-06", GONE);
    assert_do(&run, "ga-0", "[a=3 b=1 c=2 d=1 #4]@7");
    run_close(&run);
}

/* ---- alarms ---------------------------------------------------------------------------------- */

/* The members of the answer, as "3e:NOSPACE ". */
static const char *alarm_do(struct run *run, Etcdserverpb__AlarmRequest__AlarmAction action,
                            uint64_t member, int type)
{
    Etcdserverpb__AlarmRequest request = ETCDSERVERPB__ALARM_REQUEST__INIT;
    Etcdserverpb__AlarmResponse *response;
    struct slice reply = {0};
    request.action = action;
    request.memberid = member;
    request.alarm = (Etcdserverpb__AlarmType)type;
    backend_begin(run->backend);
    assert_int_equal(apply_alarm(run->apply, &request, &run->arena, &reply), STATUS_OK);
    backend_end(run->backend, ++run->index, 1);
    assert_int_equal(
        pb_decode(&run->arena, &etcdserverpb__alarm_response__descriptor, reply, &response, NULL),
        ERR_OK);
    buf_reset(&run->text);
    for (size_t i = 0; i < response->n_alarms; i++) {
        buf_printf(&run->text, "%" PRIx64 ":%s ", response->alarms[i]->memberid,
                   alarm_type_name((int32_t)response->alarms[i]->alarm));
    }
    return buf_cstr(&run->text);
}

#define GET ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__GET
#define ON ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE
#define OFF ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE

TEST(apply, alarms_are_raised_listed_and_taken_back)
{
    struct run run;
    run_open(&run);
    assert_string_equal(alarm_do(&run, GET, 0, ALARM_NONE), "");
    assert_string_equal(alarm_do(&run, ON, 0x3e, ALARM_NONE), "");
    assert_string_equal(alarm_do(&run, ON, 0x3e, ALARM_CORRUPT), "3e:CORRUPT ");
    assert_string_equal(alarm_do(&run, ON, 0x3e, ALARM_NOSPACE), "3e:NOSPACE ");
    assert_string_equal(alarm_do(&run, ON, 0x2a, ALARM_NOSPACE), "2a:NOSPACE ");
    assert_string_equal(alarm_do(&run, ON, 0x2a, ALARM_NOSPACE), "2a:NOSPACE "); /* again */
    assert_string_equal(alarm_do(&run, GET, 0, ALARM_NONE), "2a:NOSPACE 3e:NOSPACE 3e:CORRUPT ");
    assert_string_equal(alarm_do(&run, GET, 0, ALARM_CORRUPT), "3e:CORRUPT ");
    assert_string_equal(alarm_do(&run, OFF, 0x3e, ALARM_NOSPACE), "3e:NOSPACE ");
    assert_string_equal(alarm_do(&run, OFF, 0x3e, ALARM_NOSPACE), "");
    assert_string_equal(alarm_do(&run, GET, 0, ALARM_NONE), "2a:NOSPACE 3e:CORRUPT ");
    run_close(&run);
}

TEST(apply, nospace_forbids_what_costs_space_and_nothing_else)
{
    struct run run;
    fill(&run);
    alarm_do(&run, ON, 1, ALARM_NOSPACE);
    assert_refused(&run, "pa1", NO_SPACE);
    assert_refused(&run, "ia", NO_SPACE);
    assert_refused(&run, "{ : pa1 : }", NO_SPACE);
    assert_refused(&run, "{ : : pa1 }", NO_SPACE); /* in the branch that is not taken, too */
    assert_refused(&run, "{ : { : : pa1 } : }", NO_SPACE);
    assert_do(&run, "{ : ga : }", "{+ [a=3 #1]@7}@7");
    assert_do(&run, "{ : dc : }", "{+ D1@8}@8");
    assert_do(&run, "da", "D1@9");
    assert_do(&run, "gb", "[b=1 #1]@9");
    assert_int_equal(compact(&run, 9), STATUS_OK);
    alarm_do(&run, OFF, 1, ALARM_NOSPACE);
    assert_do(&run, "pa1", "P@10");
    run_close(&run);
}

TEST(apply, corrupt_forbids_everything_but_to_take_it_back)
{
    static const char *const requests[] = {"pa1", "da", "ga", "{ : ga : }", "{ : pa1 : }", "da-0"};
    struct run run;
    struct slice reply;
    fill(&run);
    alarm_do(&run, ON, 1, ALARM_NOSPACE);
    alarm_do(&run, ON, 1, ALARM_CORRUPT); /* which goes before the other */
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        assert_refused(&run, requests[i], CORRUPT);
    }
    assert_int_equal(apply_txn_read(run.apply, run_txn_of(&run, "{ : ga : }"), &run.arena, &reply),
                     STATUS_CORRUPT);
    assert_int_equal(compact(&run, 3), STATUS_CORRUPT);
    assert_string_equal(alarm_do(&run, GET, 0, ALARM_NONE), "1:NOSPACE 1:CORRUPT ");
    alarm_do(&run, OFF, 1, ALARM_CORRUPT);
    alarm_do(&run, OFF, 1, ALARM_NOSPACE);
    assert_do(&run, "da", "D1@8");
    run_close(&run);
}

/* ---- quota ----------------------------------------------------------------------------------- */

TEST(apply, a_put_costs_its_key_its_value_and_256_bytes)
{
    struct run run;
    run_open(&run);
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    assert_int_equal(apply_cost_put(&put), 256);
    put.key = pb_binary(SLICE("abc"));
    put.value = pb_binary(SLICE("12345"));
    assert_int_equal(apply_cost_put(&put), 264);
    run_close(&run);
}

/* etcd once counted only the outermost requests, so that nesting evaded the quota. */
TEST(apply, a_transaction_costs_its_dearer_branch_nested_ones_included)
{
    static const struct {
        const char *txn;
        uint64_t cost;
    } rows[] = {
        {"{ : : }", 0},
        {"{ : ga da e : db }", 0},
        {"{ : pa1 : }", 258},
        {"{ : : pa1 }", 258},
        {"{ : pa1 pb22 : pa1 }", 517},
        {"{ : pa1 : pa1 pb22 }", 517},
        {"{ : { : pa1 : } : }", 258},
        {"{ : { : : pa1 } pb1 : ga }", 516},
        {"{ : { : { : pa1 pb1 : } : pc1 } pd1 : pe1 }", 774},
        {"{ : pa1 : { : pb1 pc1 : pd1 } }", 516},
    };
    struct run run;
    run_open(&run);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(apply_cost_txn(run_txn_of(&run, rows[i].txn)), rows[i].cost);
    }
    run_close(&run);
}

TEST(apply, what_exceeds_the_quota_is_applied_and_said)
{
    struct run run;
    struct backend_stats stats;
    fill(&run);
    backend_stats(run.backend, &stats);
    run_options(&run, (int64_t)stats.size + 259);
    assert_true(apply_has_room(run.apply, 258));
    assert_false(apply_has_room(run.apply, 259)); /* up to it is too much */
    assert_true(apply_has_room(run.apply, 0));
    assert_do(&run, "pa1", "P@8");
    assert_do(&run, "pa12", "P@9 but " NO_SPACE);
    assert_do(&run, "ga", "[a=12 #1]@9");
    assert_do(&run, "{ : pa1 : }", "{+ P@10}@10");
    assert_do(&run, "{ : { : pa1 pb1 : } : }", "{+ {+ P@11 P@11}}@11 but " NO_SPACE);
    run_options(&run, (int64_t)stats.size - 1);
    assert_true(apply_has_room(run.apply, 0)); /* what costs nothing always goes on */
    assert_do(&run, "{ : da gb : }", "{+ D1@12 [b=1 #1]@12}@12");
    run_options(&run, INT64_MAX);
    assert_true(apply_has_room(run.apply, (uint64_t)1 << 40));
    run_close(&run);
}
