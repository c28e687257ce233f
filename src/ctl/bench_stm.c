/* stm: transactions of the optimistic kind, as clientv3's STM makes them: a body that reads some
 * keys and overwrites a part of them, run again until nobody came in between.
 *
 * What is read and what is compared, by --isolation:
 *
 *   c   read committed         each key as it is when asked for; nothing is compared
 *   r   repeatable reads       the same; what was read must be unchanged
 *   s   serializable           all keys as of the revision of the first read; as r
 *   ss  serializable snapshot  as s, and what is written is unchanged since that revision
 *
 * When the comparison fails, the answer of s and ss has the keys as they are now, and the next run
 * needs no reads. Reads are transactions of one Range, because clientv3's are.
 *
 * Each client runs one transaction at a time, around which --stm-locker may put a lock, by the
 * client's own recipe or by the Lock service.
 *
 * Source: etcd 3.6 tools/benchmark: names, flags, defaults; clientv3/concurrency, STM. (The library
 * has one too, client/etcdclient_stm.c; it blocks its caller's thread, and here is only one.) */
#include "ctl/bench_priv.h"

#include "client/contender.h"
#include "client/session.h"
#include "codec/pb.h"
#include "codec/pbwire.h"
#include "lock.pb-c.h"
#include "rpc.pb-c.h"

#define KEY_LEN 16
#define LOCK_NAME "stmlock"

enum isolation { READ_COMMITTED, REPEATABLE_READS, SERIALIZABLE, SERIALIZABLE_SNAPSHOT };
enum locker { LOCKER_NONE, LOCKER_CLIENT, LOCKER_RPC };

struct stm_run;

struct stm_key {
    uint8_t bytes[KEY_LEN];
    uint64_t number;
    int64_t mod_revision;
    bool is_known; /* mod_revision is what a failed commit has read */
};

/* One client and its transaction. */
struct stm_line {
    struct stm_run *run;
    struct client *client;
    struct timer timer; /* holds it back to keep to the rate */
    struct stm_key *keys;
    size_t read_count; /* keys that have been read in this run */
    int64_t base;      /* the revision of its reads; 0: not known yet */
    mono_ns started_at;
    struct client_keeper *keeper;
    struct client_watcher *watcher;
    struct client_session *session;
    struct client_contender *contender;
    struct client_call call; /* of the Lock service */
    struct slice lock_key;
    struct arena arena; /* of the transaction */
    const char *error;  /* of the transaction; NULL: it went well */
};

struct stm_run {
    struct bench *bench;
    struct bench_clients clients;
    struct stm_line *lines;
    size_t line_count;
    enum isolation isolation;
    enum locker locker;
    uint64_t key_count;
    uint64_t keys_per_txn;
    uint64_t writes_per_txn;
    uint64_t total;
    uint64_t rate;
    uint64_t begun;
    uint64_t done;
    size_t sessions; /* that stand */
    mono_ns next_at; /* with a rate: when the next run of a body may begin */
    struct bench_report *report;
    const char *failure; /* NULL: none */
};

static void fail_with(struct stm_run *run, const char *what, const char *error)
{
    if (run->failure == NULL) {
        run->failure = arena_printf(&run->bench->arena, "%s: %s", what, error);
    }
}

static bool has_one_revision(const struct stm_run *run)
{
    return run->isolation == SERIALIZABLE || run->isolation == SERIALIZABLE_SNAPSHOT;
}

/* ---- messages ----------------------------------------------------------------------------- */

static ProtobufCBinaryData key_bytes(struct stm_key *key)
{
    return (ProtobufCBinaryData){.data = key->bytes, .len = KEY_LEN};
}

static Etcdserverpb__RequestOp *range_op(struct stm_line *line, struct stm_key *key,
                                         int64_t revision)
{
    Etcdserverpb__RequestOp *op = pb_new(&line->arena, &etcdserverpb__request_op__descriptor);
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    op->request_range = pb_new(&line->arena, &etcdserverpb__range_request__descriptor);
    op->request_range->key = key_bytes(key);
    op->request_range->revision = revision;
    op->request_range->serializable = revision != 0;
    return op;
}

static Etcdserverpb__RequestOp *put_op(struct stm_line *line, struct stm_key *key)
{
    Etcdserverpb__RequestOp *op = pb_new(&line->arena, &etcdserverpb__request_op__descriptor);
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    op->request_put = pb_new(&line->arena, &etcdserverpb__put_request__descriptor);
    op->request_put->key = key_bytes(key);
    op->request_put->value = pb_binary(buf_slice(&line->run->bench->value));
    return op;
}

static Etcdserverpb__Compare *compare_mod(struct stm_line *line, struct stm_key *key,
                                          Etcdserverpb__Compare__CompareResult result,
                                          int64_t revision)
{
    Etcdserverpb__Compare *compare = pb_new(&line->arena, &etcdserverpb__compare__descriptor);
    compare->result = result;
    compare->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD;
    compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
    compare->mod_revision = revision;
    compare->key = key_bytes(key);
    return compare;
}

static void key_set(struct stm_key *key, uint64_t number)
{
    *key = (struct stm_key){.number = number};
    pbwire_put_varint(key->bytes, number << 1); /* Go's PutVarint: zigzag */
}

static bool has_number(const struct stm_line *line, size_t count, uint64_t number)
{
    for (size_t i = 0; i < count; i++) {
        if (line->keys[i].number == number) {
            return true;
        }
    }
    return false;
}

/* Source: Floyd's sampling (Bentley, "A sample of brilliance", CACM 1987): different numbers, each
 * set equally likely, without trying twice. */
static void choose_keys(struct stm_line *line)
{
    struct stm_run *run = line->run;
    for (size_t i = 0; i < run->keys_per_txn; i++) {
        uint64_t top = run->key_count - run->keys_per_txn + i;
        uint64_t number = bench__random(run->bench) % (top + 1);
        key_set(&line->keys[i], has_number(line, i, number) ? top : number);
    }
}

/* ---- one transaction ---------------------------------------------------------------------- */

static void line_next(struct stm_line *line);
static void unlock(struct stm_line *line);
static void run_body(struct stm_line *line);

static void txn_over(struct stm_line *line, const char *error)
{
    line->error = error[0] == 0 ? NULL : arena_printf(&line->arena, "%s", error);
    unlock(line);
}

static void run_again(struct stm_line *line, const Etcdserverpb__TxnResponse *failed)
{
    struct stm_run *run = line->run;
    for (size_t i = 0; i < run->keys_per_txn; i++) {
        struct stm_key *key = &line->keys[i];
        bool has_answer = has_one_revision(run) && i < failed->n_responses &&
                          failed->responses[i]->response_case ==
                              ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE;
        key->is_known = has_answer;
        if (has_answer) {
            const Etcdserverpb__RangeResponse *range = failed->responses[i]->response_range;
            key->mod_revision = range->n_kvs > 0 ? range->kvs[0]->mod_revision : 0;
        }
    }
    line->read_count = 0;
    line->base = 0;
    if (has_one_revision(run) && run->keys_per_txn > 0) {
        line->base = failed->header->revision;
    }
    run_body(line);
}

static void committed(void *ctx, const struct client_result *result, void *reply)
{
    struct stm_line *line = ctx;
    const Etcdserverpb__TxnResponse *txn = reply;
    if (txn == NULL || txn->succeeded) {
        txn_over(line, txn == NULL ? result->error : "");
    } else {
        run_again(line, txn);
    }
}

static void commit(struct stm_line *line)
{
    struct stm_run *run = line->run;
    size_t keys = run->keys_per_txn;
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    txn.compare = arena_zalloc(&line->arena, (2 * keys + 1) * sizeof(*txn.compare));
    txn.success = arena_zalloc(&line->arena, (keys + 1) * sizeof(*txn.success));
    txn.failure = arena_zalloc(&line->arena, (keys + 1) * sizeof(*txn.failure));
    for (size_t i = 0; i < keys; i++) {
        struct stm_key *key = &line->keys[i];
        if (run->isolation != READ_COMMITTED) {
            txn.compare[txn.n_compare++] = compare_mod(
                line, key, ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL, key->mod_revision);
        }
        if (has_one_revision(run)) {
            txn.failure[txn.n_failure++] = range_op(line, key, 0);
        }
    }
    for (size_t i = 0; i < run->writes_per_txn; i++) {
        struct stm_key *key = &line->keys[i];
        if (run->isolation == SERIALIZABLE_SNAPSHOT) {
            txn.compare[txn.n_compare++] =
                compare_mod(line, key, ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS, line->base + 1);
        }
        txn.success[txn.n_success++] = put_op(line, key);
    }
    client_rpc_start(line->client, CLIENT_TXN, &txn, UINT64_MAX, committed, line);
}

static void has_read(void *ctx, const struct client_result *result, void *reply)
{
    struct stm_line *line = ctx;
    const Etcdserverpb__TxnResponse *txn = reply;
    if (txn == NULL) {
        txn_over(line, result->error);
        return;
    }
    if (txn->n_responses != 1 ||
        txn->responses[0]->response_case != ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE) {
        txn_over(line, "the server's answer makes no sense");
        return;
    }
    const Etcdserverpb__RangeResponse *range = txn->responses[0]->response_range;
    struct stm_key *key = &line->keys[line->read_count++];
    key->mod_revision = range->n_kvs > 0 ? range->kvs[0]->mod_revision : 0;
    if (has_one_revision(line->run) && line->base == 0) {
        line->base = txn->header->revision;
    }
    run_body(line);
}

/* Reads key after key, then commits. */
static void run_body(struct stm_line *line)
{
    struct stm_run *run = line->run;
    while (line->read_count < run->keys_per_txn && line->keys[line->read_count].is_known) {
        line->read_count++;
    }
    if (line->read_count == run->keys_per_txn) {
        commit(line);
        return;
    }
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__RequestOp *op = range_op(line, &line->keys[line->read_count], line->base);
    txn.success = &op;
    txn.n_success = 1;
    client_rpc_start(line->client, CLIENT_TXN, &txn, UINT64_MAX, has_read, line);
}

static void on_time(struct timer *timer)
{
    run_body(CONTAINER_OF(timer, struct stm_line, timer));
}

/* At most --rate bodies a second, of all clients together. */
static void begin_body(struct stm_line *line)
{
    struct stm_run *run = line->run;
    mono_ns now = env_now_mono(run->bench->env);
    if (run->rate == 0) {
        run_body(line);
        return;
    }
    mono_ns at = run->next_at > now ? run->next_at : now;
    run->next_at = at + NS_PER_SEC / run->rate;
    timer_start(run->bench->loop, &line->timer, at);
}

/* ---- locks -------------------------------------------------------------------------------- */

static void lock_answered(struct client_call *call, const struct client_result *result,
                          struct slice bytes)
{
    struct stm_line *line = CONTAINER_OF(call, struct stm_line, call);
    V3lockpb__LockResponse *reply = NULL;
    struct errbuf why = {{0}};
    if (result->status != GRPC_OK) {
        fail_with(line->run, "lock", result->error);
    } else if (pb_decode(&line->arena, &v3lockpb__lock_response__descriptor, bytes, &reply, &why) !=
               ERR_OK) {
        fail_with(line->run, "lock", why.text);
    } else {
        line->lock_key =
            slice_of(arena_dup(&line->arena, reply->key.data, reply->key.len), reply->key.len);
        begin_body(line);
    }
}

static void unlock_answered(struct client_call *call, const struct client_result *result,
                            struct slice bytes)
{
    struct stm_line *line = CONTAINER_OF(call, struct stm_line, call);
    UNUSED(bytes);
    if (result->status != GRPC_OK) {
        fail_with(line->run, "unlock", result->error);
        return;
    }
    line_next(line);
}

static void lock_call(struct stm_line *line, const char *path, const void *request,
                      client_done_fn *done)
{
    line->call = (struct client_call){.path = path,
                                      .request = pb_encode_arena(request, &line->arena),
                                      .deadline = UINT64_MAX,
                                      .done = done};
    client_call_start(line->client, &line->call);
}

static void contended(struct client_contender *contender, const char *error, void *ctx)
{
    struct stm_line *line = ctx;
    UNUSED(contender);
    if (error[0] != 0) {
        fail_with(line->run, "lock", error);
    } else {
        begin_body(line);
    }
}

static void has_left(struct client_contender *contender, const char *error, void *ctx)
{
    struct stm_line *line = ctx;
    UNUSED(contender);
    client_contender_free(&line->contender);
    if (error[0] != 0) {
        fail_with(line->run, "unlock", error);
    } else {
        line_next(line);
    }
}

static void lock(struct stm_line *line)
{
    if (line->run->locker == LOCKER_NONE) {
        begin_body(line);
    } else if (line->run->locker == LOCKER_CLIENT) {
        struct client_contender_options options = {
            .client = line->client,
            .watcher = line->watcher,
            .lease = client_session_lease(line->session),
            .name = SLICE(LOCK_NAME),
        };
        line->contender = client_contender_start(&options, contended, line);
    } else {
        V3lockpb__LockRequest request = V3LOCKPB__LOCK_REQUEST__INIT;
        request.name = pb_binary(SLICE(LOCK_NAME));
        request.lease = client_session_lease(line->session);
        lock_call(line, "/v3lockpb.Lock/Lock", &request, lock_answered);
    }
}

static void unlock(struct stm_line *line)
{
    if (line->run->locker == LOCKER_NONE) {
        line_next(line);
    } else if (line->run->locker == LOCKER_CLIENT) {
        client_contender_leave(line->contender, UINT64_MAX, has_left, line);
    } else {
        V3lockpb__UnlockRequest request = V3LOCKPB__UNLOCK_REQUEST__INIT;
        request.key = pb_binary(line->lock_key);
        lock_call(line, "/v3lockpb.Lock/Unlock", &request, unlock_answered);
    }
}

/* ---- clients ------------------------------------------------------------------------------ */

static void line_begin(struct stm_line *line)
{
    struct stm_run *run = line->run;
    if (run->begun == run->total || run->failure != NULL) {
        return;
    }
    run->begun++;
    arena_reset(&line->arena);
    line->error = NULL;
    line->read_count = 0;
    line->base = 0;
    choose_keys(line);
    line->started_at = env_now_mono(run->bench->env);
    lock(line);
}

/* A transaction is over, and its lock given back. */
static void line_next(struct stm_line *line)
{
    struct stm_run *run = line->run;
    if (line->error != NULL) {
        bench_report_error(run->report, line->error);
    } else {
        bench_report_success(run->report, line->started_at, env_now_mono(run->bench->env));
    }
    run->done++;
    line_begin(line);
}

static void session_ready(struct client_session *session, const char *error, void *ctx)
{
    struct stm_line *line = ctx;
    UNUSED(session);
    if (error[0] != 0) {
        fail_with(line->run, "session", error);
    }
    line->run->sessions++;
}

static void lines_open(struct stm_run *run)
{
    struct arena *arena = &run->bench->arena;
    run->lines = arena_zalloc(arena, run->line_count * sizeof(*run->lines));
    for (size_t i = 0; i < run->line_count; i++) {
        struct stm_line *line = &run->lines[i];
        line->run = run;
        line->client = bench__client(&run->clients, i);
        line->keys = arena_zalloc(arena, (run->keys_per_txn + 1) * sizeof(*line->keys));
        timer_init(&line->timer, on_time);
        arena_init(&line->arena);
        if (run->locker != LOCKER_NONE) {
            line->keeper = client_keeper_new(line->client);
            line->watcher = client_watcher_new(line->client, false);
            struct client_session_options options = {
                .client = line->client,
                .keeper = line->keeper,
                .ready = session_ready,
                .ctx = line,
            };
            line->session = client_session_open(&options);
        }
    }
    while (run->locker != LOCKER_NONE && run->sessions < run->line_count && run->failure == NULL) {
        loop_turn(run->bench->loop, true);
    }
}

static void revoked(void *ctx, const struct client_result *result, void *reply)
{
    struct stm_run *run = ctx;
    UNUSED(result);
    UNUSED(reply);
    run->sessions--;
}

/* Locks that were left by a failure go with their leases. */
static void leases_revoke(struct stm_run *run)
{
    mono_ns deadline = env_now_mono(run->bench->env) + 2 * NS_PER_SEC;
    run->sessions = 0;
    for (size_t i = 0; i < run->line_count; i++) {
        Etcdserverpb__LeaseRevokeRequest request = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
        const struct client_session *session = run->lines[i].session;
        request.id = session == NULL ? 0 : client_session_lease(session);
        if (request.id != 0) {
            run->sessions++;
            client_rpc_start(run->lines[i].client, CLIENT_LEASE_REVOKE, &request, deadline, revoked,
                             run);
        }
    }
    while (run->sessions > 0) {
        loop_turn(run->bench->loop, true);
    }
}

static void lines_close(struct stm_run *run)
{
    for (size_t i = 0; i < run->line_count; i++) {
        struct stm_line *line = &run->lines[i];
        timer_stop(run->bench->loop, &line->timer);
        client_contender_free(&line->contender);
    }
    leases_revoke(run);
    for (size_t i = 0; i < run->line_count; i++) {
        struct stm_line *line = &run->lines[i];
        client_session_free(&line->session);
        client_watcher_free(&line->watcher);
        client_keeper_free(&line->keeper);
    }
    bench__clients_close(&run->clients); /* ends calls, which may use an arena */
    for (size_t i = 0; i < run->line_count; i++) {
        arena_fini(&run->lines[i].arena);
    }
}

/* ---- the command -------------------------------------------------------------------------- */

const char *const bench__isolations[] = {"c", "r", "s", "ss", NULL};
const char *const bench__lockers[] = {"stm", "lock-client", "lock-rpc", NULL};

/* Its place in the table; where it has none, the number of them. */
static size_t place_of(const char *const *table, const char *word)
{
    size_t at = 0;
    while (table[at] != NULL && strcmp(table[at], word) != 0) {
        at++;
    }
    return at;
}

/* Sentences as etcd's tool has them. */
static bool take_flags(const struct command_call *call, struct stm_run *run)
{
    struct bench *bench = run->bench;
    int64_t keys = pflag_i64(call->flags, "keys");
    int64_t percent = pflag_i64(call->flags, "txn-wr-percent");
    int64_t per_txn = pflag_i64(call->flags, "keys-per-txn");
    uint64_t value_size = 0;
    size_t isolation = place_of(bench__isolations, pflag_str(call->flags, "isolation"));
    size_t locker = place_of(bench__lockers, pflag_str(call->flags, "stm-locker"));
    if (keys <= 0) {
        bench__fail(bench, "expected positive --keys, got (%lld)", (long long)keys);
        return false;
    }
    if (percent < 0 || percent > 100) {
        bench__fail(bench, "expected [0, 100] --txn-wr-percent, got (%lld)", (long long)percent);
        return false;
    }
    if (per_txn < 0 || per_txn > keys || per_txn > INT32_MAX) {
        bench__fail(bench, "expected --keys-per-txn between 0 and %lld, got (%lld)",
                    (long long)keys, (long long)per_txn);
        return false;
    }
    if (bench__isolations[isolation] == NULL) {
        bench__fail(bench, "--isolation must be c, r, s or ss");
        return false;
    }
    if (bench__lockers[locker] == NULL) {
        bench__fail(bench, "unexpected stm locker \"%s\"", pflag_str(call->flags, "stm-locker"));
        return false;
    }
    if (!bench__take_number(call, "val-size", 0, &value_size) ||
        !bench__take_number(call, "total", 0, &run->total) ||
        !bench__take_number(call, "rate", 0, &run->rate)) {
        return false;
    }
    run->key_count = (uint64_t)keys;
    run->keys_per_txn = (uint64_t)per_txn;
    run->writes_per_txn = (uint64_t)(per_txn * percent / 100);
    run->isolation = (enum isolation)isolation;
    run->locker = (enum locker)locker;
    env_random(bench->env, buf_extend(&bench->value, value_size), value_size);
    return true;
}

int bench__stm_run(const struct command_call *call)
{
    struct bench *bench = bench_of(call);
    struct stm_run run = {.bench = bench};
    if (!take_flags(call, &run)) {
        return COMMAND_EXIT_ERROR;
    }
    int code = bench__clients_open(call, &run.clients);
    if (code != COMMAND_EXIT_OK) {
        bench__clients_close(&run.clients);
        return code;
    }
    run.line_count = (size_t)pflag_u64(call->flags, "clients");
    bench__reports(call, &run.report, 1);
    lines_open(&run);
    bench__report_begin(bench, run.report);
    for (size_t i = 0; i < run.line_count; i++) {
        line_begin(&run.lines[i]);
    }
    while (run.done < run.total && run.failure == NULL) {
        loop_turn(bench->loop, true);
    }
    bench__report_end(bench, run.report, "");
    lines_close(&run);
    bench_report_free(&run.report);
    return run.failure == NULL ? COMMAND_EXIT_OK : bench__fail(bench, "%s", run.failure);
}
