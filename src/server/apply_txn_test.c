/* Transactions: what is compared, which branch is taken, and that a refused one changes nothing. */
#include "server/apply_run.h"

#include <stdio.h>

/* a = 1 (create 2, mod 2, version 1), b = 22 (3, 4, 2) */
static void fill(struct run *run)
{
    run_open(run);
    run_do(run, "pa1");
    run_do(run, "pb2");
    run_do(run, "pb22");
}

static void assert_compares(struct run *run, const char *compares, bool holds)
{
    char text[128];
    snprintf(text, sizeof(text), "{ %s : : }", compares);
    const char *answer = run_do(run, text);
    if (strcmp(answer, holds ? "{+}@4" : "{-}@4") != 0) {
        fail_msg("%s: %s", compares, answer);
    }
}

TEST(apply_txn, compares_by_every_target_and_operator)
{
    static const struct {
        const char *compares;
        bool holds;
    } rows[] = {
        {"", true},
        {"Va=1", true},
        {"Va=2", false},
        {"Va!2", true},
        {"Va!1", false},
        {"Va>0", true},
        {"Va>1", false},
        {"Va<10", true}, /* bytes, not numbers */
        {"Va<1", false},
        {"Mb=4", true},
        {"Mb=3", false},
        {"Mb>3", true},
        {"Mb>4", false},
        {"Mb<5", true},
        {"Mb!3", true},
        {"Cb=3", true},
        {"Cb>3", false},
        {"Cb<4", true},
        {"Nb=2", true},
        {"Nb<2", false},
        {"Nb>1", true},
        {"Na!1", false},
        {"La=0", true},
        {"La>0", false},
        {"La<1", true},
        {"Va=1 Mb=4 Nb=2", true},
        {"Va=1 Mb=4 Nb=3", false},
        {"Va=2 Mb=4", false},
        /* an operand of none of the targets counts as zero: of version, the first in the enum */
        {"Xa=", false},
        {"Xa>", true},
        {"Xx=", true},
    };
    struct run run;
    fill(&run);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_compares(&run, rows[i].compares, rows[i].holds);
    }
    run_close(&run);
}

TEST(apply_txn, a_key_that_is_not_there_has_zeros_and_no_value)
{
    static const struct {
        const char *compares;
        bool holds;
    } rows[] = {
        {"Nx=0", true}, {"Cx=0", true},   {"Mx=0", true},    {"Lx=0", true},    {"Nx>0", false},
        {"Mx<1", true}, {"Cx!0", false},  {"Vx=", false},    {"Vx!1", false},   {"Vx<1", false},
        {"Vx>", false}, {"Nx-z=0", true}, {"Vx-z!1", false}, {"Nx-z>0", false},
    };
    struct run run;
    fill(&run);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_compares(&run, rows[i].compares, rows[i].holds);
    }
    run_close(&run);
}

TEST(apply_txn, a_compare_of_a_range_holds_for_every_key_of_it)
{
    static const struct {
        const char *compares;
        bool holds;
    } rows[] = {
        {"Na-c>0", true},  {"Na-c=1", false},  {"Na-b=1", true}, {"Nb-0=2", true},
        {"Va-c>0", true},  {"Va-c!22", false}, {"Va-0!3", true}, {"Ma-c<5", true},
        {"Ma-c<4", false}, {"Ca-0>2", false},
    };
    struct run run;
    fill(&run);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_compares(&run, rows[i].compares, rows[i].holds);
    }
    run_close(&run);
}

TEST(apply_txn, an_operator_that_nobody_knows_holds)
{
    struct run run;
    struct slice reply;
    fill(&run);
    Txn *txn = run_txn_of(&run, "{ Va=9 : : }");
    txn->compare[0]->result = (Etcdserverpb__Compare__CompareResult)99;
    assert_int_equal(apply_txn_read(run.apply, txn, &run.arena, &reply), STATUS_OK);
    RUN_SHOW(&run, STATUS_OK, reply, txn_response, show_txn);
    assert_string_equal(buf_cstr(&run.text), "{+}@4");
    run_close(&run);
}

TEST(apply_txn, one_branch_is_done_at_one_revision)
{
    struct run run;
    fill(&run);
    assert_do(&run, "{ Va=1 : pa2 pc3 : pd4 }", "{+ P@5 P@5}@5");
    assert_do(&run, "{ Va=1 : pa3 : pd4 db }", "{- P@6 D1@6}@6");
    assert_do(&run, "ga-0", "[a=2 c=3 d=4 #3]@6");
    assert_do(&run, "{ : ga : }", "{+ [a=2 #1]@6}@6"); /* reads make no revision */
    assert_do(&run, "{ : dx : }", "{+ D0@6}@6");
    assert_do(&run, "{ : : }", "{+}@6");
    assert_do(&run, "{ : e ga : }", "{+ e [a=2 #1]@6}@6");
    run_close(&run);
}

TEST(apply_txn, reads_see_the_writes_before_them)
{
    struct run run;
    fill(&run);
    assert_do(&run, "{ : ga pa2 ga Pa3 ga : }",
              "{+ [a=1 #1]@4 P@5 [a=2 #1]@5 P<a=2>@5 [a=3 #1]@5}@5");
    assert_do(&run, "{ : da-0 ga-0 pc1 ga-0 : }", "{+ D2@6 [#0]@6 P@6 [c=1 #1]@6}@6");
    assert_do(&run, "{ : pd1 Da-0 : }", "{+ P@7 D2<c=1 d=1>@7}@7");
    run.shows_rows = true;
    run_do(&run, "pa1");
    assert_do(&run, "{ : da pa2 ga : }", "{+ D1@9 P@9 [a=2(9,9,1) #1]@9}@9");
    /* the past does not change under a transaction */
    assert_do(&run, "{ : pa7 ha8 : }", "{+ P@10 [a=1(8,8,1) #1]@10}@10");
    run_close(&run);
}

TEST(apply_txn, nested_ones_take_their_branches_and_share_the_revision)
{
    struct run run;
    fill(&run);
    assert_do(&run, "{ : { Va=9 : pc1 : pd1 gd } pe1 : }", "{+ {- P@5 [d=1 #1]@5} P@5}@5");
    assert_do(&run, "{ : { : { : { : pf1 : } : } : } : }", "{+ {+ {+ {+ P@6}}}}@6");
    assert_do(&run, "{ : { : : } : }", "{+ {+}}@6");
    run_close(&run);
}

/* Every compare, nested ones too, is decided on the state before the transaction. */
TEST(apply_txn, nested_compares_do_not_see_the_writes_before_them)
{
    struct run run;
    fill(&run);
    assert_do(&run, "{ : pa9 { Va=9 : pc1 : pd1 } ga : }", "{+ P@5 {- P@5} [a=9 #1]@5}@5");
    assert_do(&run, "gc-e", "[d=1 #1]@5");
    run_close(&run);
}

TEST(apply_txn, a_refused_one_changes_nothing)
{
    struct run run;
    fill(&run);
    assert_refused(&run, "{ : pa5 lc1 : }", NO_LEASE);
    assert_refused(&run, "{ : da-0 ix : }", NO_KEY);
    assert_refused(&run, "{ : da-0 Lx1 : }", NO_KEY);
    assert_refused(&run, "{ : pa5 { Va=1 : ix : } : }", NO_KEY);
    assert_refused(&run, "{ : pa5 ha5 : }", FUTURE);
    assert_refused(&run, "{ : pa5 { : ha99 : } : }", FUTURE);
    assert_refused(&run, "{ : px1 ix : }", NO_KEY); /* checks see the state before it */
    /* what would be refused in a branch that is not taken is not looked at */
    assert_do(&run, "{ Va=9 : ix ha99 lc1 : pa5 }", "{- P@5}@5");
    assert_do(&run, "{ : pa6 { Va=9 : ix : pb1 } : }", "{+ P@6 {- P@6}}@6");
    run_close(&run);
}

TEST(apply_txn, a_range_below_the_compaction_is_refused)
{
    struct run run;
    fill(&run);
    Etcdserverpb__CompactionRequest request = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    struct slice reply;
    request.revision = 3;
    backend_begin(run.backend);
    assert_int_equal(apply_compact(run.apply, &request, &run.arena, &reply), STATUS_OK);
    backend_end(run.backend, ++run.index, 1);
    assert_refused(&run, "{ : pa5 ha2 : }", GONE);
    assert_do(&run, "{ : pa5 ha-03 : }", "{+ P@5 [a=1 b=2 #2]@5}@5");
    run_close(&run);
}

/* Proposers refuse it, but a log may hold it. */
TEST(apply_txn, a_put_whose_key_the_transaction_itself_deleted_is_answered_empty)
{
    struct run run;
    fill(&run);
    assert_do(&run, "{ : da ia pc1 : }", "{+ D1@5 P P@5}@5");
    assert_do(&run, "ga-0", "[b=22 c=1 #2]@5");
    run_close(&run);
}

TEST(apply_txn, a_read_only_one_needs_no_entry)
{
    struct run run;
    struct slice reply;
    fill(&run);
    assert_int_equal(apply_txn_read(run.apply, run_txn_of(&run, "{ Nb=2 : ga-0 { : ha2 : } : }"),
                                    &run.arena, &reply),
                     STATUS_OK);
    RUN_SHOW(&run, STATUS_OK, reply, txn_response, show_txn);
    assert_string_equal(buf_cstr(&run.text), "{+ [a=1 b=22 #2]@4 {+ [a=1 #1]@4}}@4");
    assert_int_equal(apply_txn_read(run.apply, run_txn_of(&run, "{ : ha9 : }"), &run.arena, &reply),
                     STATUS_FUTURE_REVISION);
    run_close(&run);
}

static Txn *nest(struct run *run, Txn *txn, unsigned levels)
{
    for (unsigned i = 0; i < levels; i++) {
        Txn *outer = pb_new(&run->arena, &etcdserverpb__txn_request__descriptor);
        outer->success = arena_zalloc(&run->arena, sizeof(Op *));
        outer->success[0] = pb_new(&run->arena, &etcdserverpb__request_op__descriptor);
        outer->success[0]->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
        outer->success[0]->request_txn = txn;
        outer->n_success = 1;
        txn = outer;
    }
    return txn;
}

static enum status apply_one(struct run *run, const Txn *txn)
{
    struct slice reply;
    backend_begin(run->backend);
    enum status status = apply_txn(run->apply, txn, &run->arena, &reply);
    backend_end(run->backend, ++run->index, 1);
    return status;
}

/* Deeper than any client may nest: such a log ends with a status, not with the stack. */
TEST(apply_txn, nesting_without_end_is_refused)
{
    struct run run;
    fill(&run);
    Txn *txn = nest(&run, run_txn_of(&run, "{ : pa9 : }"), 300000);
    assert_int_equal(apply_one(&run, txn), STATUS_TOO_MANY_OPS);
    assert_do(&run, "ga", "[a=1 #1]@4");
    /* nor does it end with the stack where it is not followed */
    Txn *outer = run_txn_of(&run, "{ Va=9 : e : pa2 }");
    outer->success[0]->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
    outer->success[0]->request_txn = txn;
    assert_int_equal(apply_one(&run, outer), STATUS_OK);
    assert_do(&run, "ga", "[a=2 #1]@5");
    run_close(&run);
}
