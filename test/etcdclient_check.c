/* What libetcdclient promises, against a real server: etcdclient_check ENDPOINTS [NAME]. Includes
 * nothing but the public header, and links with the shared library. Prints TAP. */
#include "etcdclient.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *endpoints[8];
static size_t endpoint_count;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("# %s:%d: %s\n", __FILE__, __LINE__, #condition);                               \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define OK(call)                                                                                   \
    do {                                                                                           \
        int code_ = (call);                                                                        \
        if (code_ != ETCD_OK) {                                                                    \
            printf("# %s:%d: %s: %d %s\n", __FILE__, __LINE__, #call, code_, error.text);          \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static bool is(struct etcd_slice slice, const char *text)
{
    return slice.len == strlen(text) && memcmp(slice.data, text, slice.len) == 0;
}

static struct etcd_client *open_client(void)
{
    struct etcd_options options = {
        .endpoints = endpoints, .endpoint_count = endpoint_count, .timeout_ms = 10000};
    struct etcd_client *client = NULL;
    struct etcd_error error;
    OK(etcd_open(&options, &client, &error));
    return client;
}

static void expect_value(struct etcd_client *client, const char *key, const char *value)
{
    struct etcd_result *result = NULL;
    struct etcd_error error;
    OK(etcd_get(client, key, &result, &error));
    CHECK(result->kv_count == (value != NULL));
    CHECK(value == NULL || is(result->kvs[0].value, value));
    etcd_result_free(&result);
}

/* ---- requests ---------------------------------------------------------------------------- */

static void requests(void)
{
    struct etcd_client *client = open_client();
    struct etcd_result *result = NULL;
    struct etcd_error error;
    char key[16];
    for (int i = 0; i < 5; i++) {
        snprintf(key, sizeof(key), "kv/%d", i);
        OK(etcd_put(client, key, "v", &error));
    }
    struct etcd_op op = etcd_op_get(etcd_str("kv/"));
    op.flags = ETCD_PREFIX | ETCD_DESCEND;
    op.limit = 2;
    OK(etcd_do(client, &op, &result, &error));
    CHECK(result->kind == ETCD_GET && result->count == 5 && result->more);
    CHECK(result->kv_count == 2 && is(result->kvs[0].key, "kv/4") && result->kvs[0].version >= 1);
    etcd_result_free(&result);

    op = etcd_op_put(etcd_str("kv/0"), etcd_bytes("a\0b", 3));
    op.flags = ETCD_PREV_KV;
    OK(etcd_do(client, &op, &result, &error));
    CHECK(result->prev_kv_count == 1 && is(result->prev_kvs[0].value, "v"));
    int64_t before = result->revision - 1;
    etcd_result_free(&result);
    op = etcd_op_get(etcd_str("kv/0"));
    OK(etcd_do(client, &op, &result, &error));
    CHECK(result->kvs[0].value.len == 3 && memcmp(result->kvs[0].value.data, "a\0b", 3) == 0);
    etcd_result_free(&result);
    op.revision = before;
    OK(etcd_do(client, &op, &result, &error));
    CHECK(is(result->kvs[0].value, "v"));
    etcd_result_free(&result);

    op = etcd_op_delete(etcd_str("kv/"));
    op.flags = ETCD_PREFIX | ETCD_PREV_KV;
    OK(etcd_do(client, &op, &result, &error));
    CHECK(result->count == 5 && result->prev_kv_count == 5);
    etcd_result_free(&result);
    expect_value(client, "kv/1", NULL);

    /* Refusals. */
    op = etcd_op_put(etcd_str(""), etcd_str("x"));
    CHECK(etcd_do(client, &op, &result, &error) == ETCD_INVALID_ARGUMENT);
    CHECK(strcmp(error.text, "etcdserver: key is not provided") == 0 && result == NULL);
    op = etcd_op_get(etcd_str("kv/1"));
    op.revision = 1000000000;
    CHECK(etcd_do(client, &op, NULL, &error) == ETCD_OUT_OF_RANGE);
    op = etcd_op_txn(NULL);
    CHECK(etcd_do(client, &op, NULL, NULL) == ETCD_INVALID_ARGUMENT);
    etcd_close(&client);
    CHECK(client == NULL);
    etcd_close(&client);
}

static void transactions(void)
{
    struct etcd_client *client = open_client();
    struct etcd_result *result = NULL;
    struct etcd_error error;
    OK(etcd_put(client, "txn/a", "1", &error));
    struct etcd_txn *txn = etcd_txn_new();
    struct etcd_txn *inner = etcd_txn_new();
    struct etcd_compare compare = {.target = ETCD_VALUE,
                                   .relation = ETCD_EQUAL,
                                   .key = etcd_str("txn/a"),
                                   .value = etcd_str("1")};
    etcd_txn_if(txn, &compare);
    struct etcd_op op = etcd_op_put(etcd_str("txn/b"), etcd_str("2"));
    etcd_txn_then(txn, &op);
    op = etcd_op_get(etcd_str("txn/a"));
    etcd_txn_then(txn, &op);
    op = etcd_op_put(etcd_str("txn/c"), etcd_str("3"));
    etcd_txn_then(inner, &op);
    op = etcd_op_txn(inner);
    etcd_txn_then(txn, &op);
    etcd_txn_free(&inner);
    op = etcd_op_delete(etcd_str("txn/a"));
    etcd_txn_else(txn, &op);

    op = etcd_op_txn(txn);
    OK(etcd_do(client, &op, &result, &error));
    CHECK(result->succeeded && result->response_count == 3);
    CHECK(result->responses[0].kind == ETCD_PUT && result->responses[1].kind == ETCD_GET);
    CHECK(is(result->responses[1].kvs[0].value, "1"));
    CHECK(result->responses[2].kind == ETCD_TXN && result->responses[2].response_count == 1);
    etcd_result_free(&result);
    expect_value(client, "txn/c", "3");

    OK(etcd_put(client, "txn/a", "other", &error));
    OK(etcd_do(client, &op, &result, &error));
    CHECK(!result->succeeded && result->responses[0].kind == ETCD_DELETE);
    CHECK(result->responses[0].count == 1);
    etcd_result_free(&result);
    expect_value(client, "txn/a", NULL);

    op = etcd_op_lease_grant(60);
    etcd_txn_then(txn, &op); /* cannot be in a transaction */
    op = etcd_op_txn(txn);
    CHECK(etcd_do(client, &op, NULL, &error) == ETCD_INVALID_ARGUMENT);
    etcd_txn_free(&txn);
    etcd_close(&client);
}

/* ---- async ------------------------------------------------------------------------------- */

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int count;
    int wrong;
    struct etcd_client *client;
};

static void gate_init(struct gate *gate, struct etcd_client *client)
{
    memset(gate, 0, sizeof(*gate));
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->changed, NULL);
    gate->client = client;
}

static void gate_add(struct gate *gate, bool is_good)
{
    pthread_mutex_lock(&gate->lock);
    gate->count++;
    gate->wrong += !is_good;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

static void gate_await(struct gate *gate, int count)
{
    pthread_mutex_lock(&gate->lock);
    while (gate->count < count) {
        pthread_cond_wait(&gate->changed, &gate->lock);
    }
    CHECK(gate->wrong == 0);
    pthread_mutex_unlock(&gate->lock);
}

static void second_done(void *ctx, const struct etcd_error *error, const struct etcd_result *result)
{
    gate_add(ctx, error->code == ETCD_OK && result->kv_count == 1);
}

static void first_done(void *ctx, const struct etcd_error *error, const struct etcd_result *result)
{
    struct gate *gate = ctx;
    struct etcd_op op = etcd_op_get(etcd_str("async"));
    bool is_good = error->code == ETCD_OK && result->kind == ETCD_PUT;
    /* What waits must not be called here. */
    is_good = is_good && etcd_do(gate->client, &op, NULL, NULL) == ETCD_WRONG_THREAD;
    etcd_do_async(gate->client, &op, second_done, gate);
    gate_add(gate, is_good);
}

static void async(void)
{
    struct etcd_client *client = open_client();
    struct gate gate;
    gate_init(&gate, client);
    for (int i = 0; i < 100; i++) {
        struct etcd_op op = etcd_op_put(etcd_str("async"), etcd_str("x"));
        etcd_do_async(client, &op, first_done, &gate);
    }
    gate_await(&gate, 200);
    etcd_close(&client);
}

#define THREADS 8
#define ROUNDS 50

struct worker {
    pthread_t id;
    struct etcd_client *client;
    int number;
};

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct etcd_error error;
    char key[32];
    char value[16];
    snprintf(key, sizeof(key), "threads/%d", worker->number);
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(value, sizeof(value), "%d", i);
        OK(etcd_put(worker->client, key, value, &error));
        expect_value(worker->client, key, value);
    }
    return NULL;
}

static void threads(void)
{
    struct etcd_client *client = open_client();
    struct worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i].client = client;
        workers[i].number = i;
        CHECK(pthread_create(&workers[i].id, NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].id, NULL);
    }
    etcd_close(&client);
}

static void canceled(void *ctx, const struct etcd_error *error, const struct etcd_result *result)
{
    gate_add(ctx, error->code == ETCD_CLOSED && result == NULL);
}

static void closing(void)
{
    static const char *const nowhere[] = {"127.0.0.1:1"};
    struct etcd_options options = {.endpoints = nowhere, .endpoint_count = 1};
    struct etcd_client *client = NULL;
    struct etcd_error error;
    struct gate gate;
    OK(etcd_open(&options, &client, &error));
    gate_init(&gate, client);
    struct etcd_op op = etcd_op_get(etcd_str("x"));
    for (int i = 0; i < 10; i++) {
        etcd_do_async(client, &op, canceled, &gate);
    }
    etcd_close(&client);
    gate_await(&gate, 10);

    options.timeout_ms = 100;
    OK(etcd_open(&options, &client, &error));
    CHECK(etcd_do(client, &op, NULL, &error) == ETCD_DEADLINE_EXCEEDED);
    CHECK(strcmp(error.text, "context deadline exceeded") == 0);
    etcd_close(&client);

    static const char *const bad[] = {"no-port"};
    options.endpoints = bad;
    CHECK(etcd_open(&options, &client, &error) == ETCD_INVALID_ARGUMENT);
    CHECK(strstr(error.text, "missing port") != NULL && client == NULL);
    options.endpoint_count = 0;
    CHECK(etcd_open(&options, &client, NULL) == ETCD_INVALID_ARGUMENT);
}

/* ---- watches ----------------------------------------------------------------------------- */

static void watches(void)
{
    struct etcd_client *client = open_client();
    struct etcd_watch_options options = {.key = etcd_str("watch/"),
                                         .flags = ETCD_WATCH_PREFIX | ETCD_WATCH_CREATED |
                                                  ETCD_WATCH_PREV_KV};
    struct etcd_watch *watch = etcd_watch_open(client, &options, NULL, NULL);
    const struct etcd_watch_response *response = NULL;
    struct etcd_error error;
    OK(etcd_watch_next(watch, 10000, &response, NULL, &error));
    CHECK(response->is_created && response->event_count == 0);
    CHECK(etcd_watch_next(watch, 50, &response, NULL, &error) == ETCD_DEADLINE_EXCEEDED);
    int64_t start = 0;
    for (int i = 0; i < 20; i++) {
        struct etcd_result *result = NULL;
        struct etcd_op op = etcd_op_put(etcd_str("watch/a"), etcd_str("v"));
        OK(etcd_do(client, &op, &result, &error));
        start = i == 0 ? result->revision : start;
        etcd_result_free(&result);
    }
    OK(etcd_delete(client, "watch/a", &error));
    size_t seen = 0;
    int64_t last = 0;
    while (seen < 21) {
        OK(etcd_watch_next(watch, 10000, &response, NULL, &error));
        for (size_t i = 0; i < response->event_count; i++) {
            const struct etcd_event *event = &response->events[i];
            CHECK(event->kv.mod_revision > last);
            CHECK(is(event->kv.key, "watch/a"));
            CHECK(event->is_delete == (seen == 20));
            CHECK((event->prev_kv != NULL) == (seen > 0));
            last = event->kv.mod_revision;
            seen++;
        }
    }
    etcd_watch_progress(watch);
    OK(etcd_watch_next(watch, 10000, &response, NULL, &error));
    CHECK(response->event_count == 0 && response->revision >= last);
    etcd_watch_close(&watch);

    struct etcd_op compact = etcd_op_get(etcd_bytes(NULL, 0));
    compact.kind = ETCD_COMPACT;
    compact.revision = last;
    OK(etcd_do(client, &compact, NULL, &error));
    options.start_revision = start;
    options.flags = ETCD_WATCH_PREFIX;
    watch = etcd_watch_open(client, &options, NULL, NULL);
    int64_t compacted = 0;
    CHECK(etcd_watch_next(watch, 10000, &response, &compacted, &error) == ETCD_OUT_OF_RANGE);
    CHECK(compacted == last);
    CHECK(strcmp(error.text, "etcdserver: mvcc: required revision has been compacted") == 0);
    CHECK(etcd_watch_next(watch, 10000, &response, NULL, &error) == ETCD_OUT_OF_RANGE);
    etcd_watch_close(&watch);
    etcd_close(&client);
}

struct called {
    struct gate gate;
    struct etcd_watch *watch;
};

static void on_watch(void *ctx, struct etcd_watch *watch,
                     const struct etcd_watch_response *response, const struct etcd_error *error,
                     int64_t compact_revision)
{
    struct called *called = ctx;
    bool is_good = error->code == ETCD_OK && compact_revision == 0 && watch != NULL;
    if (is_good && response->event_count > 0) {
        etcd_watch_close(&called->watch); /* from inside */
    }
    gate_add(&called->gate, is_good);
}

static void watch_calls_back(void)
{
    struct etcd_client *client = open_client();
    struct called called;
    struct etcd_error error;
    gate_init(&called.gate, client);
    struct etcd_watch_options options = {.key = etcd_str("called"), .flags = ETCD_WATCH_CREATED};
    called.watch = etcd_watch_open(client, &options, on_watch, &called);
    gate_await(&called.gate, 1);
    OK(etcd_put(client, "called", "1", &error));
    gate_await(&called.gate, 2);
    OK(etcd_put(client, "called", "2", &error));
    expect_value(client, "called", "2");
    CHECK(called.watch == NULL && called.gate.count == 2);
    etcd_close(&client);
}

/* More than is queued: the server is held back, and nothing is lost. */
static void watch_held_back(void)
{
    struct etcd_client *client = open_client();
    struct etcd_watch_options options = {.key = etcd_str("big"), .flags = ETCD_WATCH_CREATED};
    struct etcd_watch *watch = etcd_watch_open(client, &options, NULL, NULL);
    const struct etcd_watch_response *response = NULL;
    struct etcd_error error;
    static char value[512 * 1024];
    memset(value, 'x', sizeof(value) - 1);
    OK(etcd_watch_next(watch, 10000, &response, NULL, &error));
    for (int i = 0; i < 40; i++) {
        OK(etcd_put(client, "big", value, &error));
    }
    int64_t last = 0;
    for (int seen = 0; seen < 40; seen += (int)response->event_count) {
        OK(etcd_watch_next(watch, 10000, &response, NULL, &error));
        CHECK(response->events[0].kv.mod_revision > last);
        last = response->events[response->event_count - 1].kv.mod_revision;
    }
    etcd_watch_close(&watch);
    OK(etcd_delete(client, "big", &error));
    etcd_close(&client);
}

/* ---- leases, sessions, locks -------------------------------------------------------------- */

static void on_renewed(void *ctx, int64_t ttl_s, const struct etcd_error *error)
{
    gate_add(ctx, (ttl_s > 0) == (error->code == ETCD_OK));
}

static void leases(void)
{
    struct etcd_client *client = open_client();
    struct etcd_result *result = NULL;
    struct etcd_error error;
    struct etcd_op op = etcd_op_lease_grant(3);
    OK(etcd_do(client, &op, &result, &error));
    int64_t lease = result->lease;
    CHECK(lease != 0 && result->ttl_s >= 3);
    etcd_result_free(&result);
    op = etcd_op_put(etcd_str("leased"), etcd_str("x"));
    op.lease = lease;
    OK(etcd_do(client, &op, NULL, &error));
    struct gate gate;
    gate_init(&gate, client);
    struct etcd_keep_alive *keep = etcd_keep_alive_open(client, lease, on_renewed, &gate);
    gate_await(&gate, 4); /* at least 3 s, which is its whole time */
    op = etcd_op_get(etcd_bytes(NULL, 0));
    op.kind = ETCD_LEASE_TTL;
    op.lease = lease;
    op.flags = ETCD_ATTACHED_KEYS;
    OK(etcd_do(client, &op, &result, &error));
    CHECK(result->ttl_s > 0 && result->kv_count == 1 && is(result->kvs[0].key, "leased"));
    etcd_result_free(&result);
    op.kind = ETCD_LEASE_REVOKE;
    int before = gate.count;
    OK(etcd_do(client, &op, NULL, &error));
    gate_await(&gate, before + 1); /* it is told that the lease is gone */
    etcd_keep_alive_close(&keep);
    expect_value(client, "leased", NULL);
    CHECK(etcd_do(client, &op, NULL, &error) == ETCD_NOT_FOUND);
    etcd_close(&client);
}

struct contender {
    pthread_t id;
    struct etcd_client *client;
    int *holders;
    int *total;
};

static void *contend(void *arg)
{
    struct contender *contender = arg;
    struct etcd_session *session = NULL;
    struct etcd_error error;
    OK(etcd_session_open(contender->client, 10, NULL, NULL, &session, &error));
    int64_t last = 0;
    for (int i = 0; i < 5; i++) {
        struct etcd_claim *claim = NULL;
        OK(etcd_lock(session, etcd_str("locks/many"), 0, &claim, &error));
        CHECK(++*contender->holders == 1);
        CHECK(etcd_claim_revision(claim) > last);
        last = etcd_claim_revision(claim);
        ++*contender->total;
        usleep(1000);
        --*contender->holders;
        OK(etcd_release(&claim, &error));
    }
    etcd_session_close(&session);
    return NULL;
}

static void locks(void)
{
    struct etcd_client *client = open_client();
    struct contender contenders[THREADS];
    int holders = 0;
    int total = 0;
    for (int i = 0; i < THREADS; i++) {
        contenders[i] = (struct contender){.client = client, .holders = &holders, .total = &total};
        CHECK(pthread_create(&contenders[i].id, NULL, contend, &contenders[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(contenders[i].id, NULL);
    }
    CHECK(total == THREADS * 5);
    etcd_close(&client);
}

static void on_claim(void *ctx, struct etcd_claim *claim, const struct etcd_error *error)
{
    bool is_good = error->code == ETCD_OK && claim != NULL;
    etcd_release(&claim, NULL);
    gate_add(ctx, is_good);
}

static void lock_refusals(void)
{
    struct etcd_client *client = open_client();
    struct etcd_session *first = NULL;
    struct etcd_session *second = NULL;
    struct etcd_claim *held = NULL;
    struct etcd_claim *other = NULL;
    struct etcd_error error;
    OK(etcd_session_open(client, 10, NULL, NULL, &first, &error));
    OK(etcd_session_open(client, 10, NULL, NULL, &second, &error));
    OK(etcd_lock(first, etcd_str("locks/one"), 0, &held, &error));
    CHECK(etcd_try_lock(second, etcd_str("locks/one"), &other, &error) == ETCD_LOCKED);
    CHECK(strcmp(error.text, "mutex: Locked by another session") == 0);
    CHECK(etcd_lock(second, etcd_str("locks/one"), 100, &other, &error) == ETCD_DEADLINE_EXCEEDED);
    CHECK(other == NULL);
    struct etcd_result *result = NULL;
    struct etcd_op op = etcd_op_get(etcd_str("locks/one/"));
    op.flags = ETCD_PREFIX;
    OK(etcd_do(client, &op, &result, &error));
    CHECK(result->kv_count == 1); /* those that gave up have left nothing */
    CHECK(result->kvs[0].create_revision == etcd_claim_revision(held));
    etcd_result_free(&result);

    /* The fence holds as long as the lock. */
    struct etcd_txn *txn = etcd_txn_new();
    struct etcd_compare guard = etcd_claim_guard(held);
    etcd_txn_if(txn, &guard);
    op = etcd_op_put(etcd_str("fenced"), etcd_str("x"));
    etcd_txn_then(txn, &op);
    op = etcd_op_txn(txn);
    OK(etcd_do(client, &op, &result, &error));
    CHECK(result->succeeded);
    etcd_result_free(&result);

    /* One that waits gets it when the holder's session ends. */
    struct gate gate;
    gate_init(&gate, client);
    etcd_lock_async(second, etcd_str("locks/one"), 0, on_claim, &gate);
    usleep(100000);
    CHECK(gate.count == 0);
    OK(etcd_release(&held, &error));
    gate_await(&gate, 1);
    OK(etcd_do(client, &op, &result, &error));
    CHECK(!result->succeeded);
    etcd_result_free(&result);
    etcd_txn_free(&txn);
    etcd_session_close(&first);
    etcd_session_close(&second);
    etcd_close(&client);
}

static void on_lost(void *ctx, const struct etcd_error *error)
{
    gate_add(ctx, error->code == ETCD_SESSION_LOST);
}

static void session_is_lost(void)
{
    struct etcd_client *client = open_client();
    struct etcd_session *session = NULL;
    struct etcd_error error;
    struct gate gate;
    gate_init(&gate, client);
    OK(etcd_session_open(client, 2, on_lost, &gate, &session, &error));
    CHECK(!etcd_session_is_lost(session));
    struct etcd_op op = etcd_op_get(etcd_bytes(NULL, 0));
    op.kind = ETCD_LEASE_REVOKE;
    op.lease = etcd_session_lease(session);
    OK(etcd_do(client, &op, NULL, &error));
    gate_await(&gate, 1);
    CHECK(etcd_session_is_lost(session));
    etcd_session_close(&session);
    etcd_close(&client);
}

struct observed {
    struct gate gate;
    char values[256];
};

static void on_leader(void *ctx, const struct etcd_kv *leader, const struct etcd_error *error)
{
    struct observed *observed = ctx;
    if (leader != NULL) {
        size_t len = strlen(observed->values);
        snprintf(observed->values + len, sizeof(observed->values) - len, "%.*s;",
                 (int)leader->value.len, (const char *)leader->value.data);
    }
    gate_add(&observed->gate, error->code == ETCD_OK && leader != NULL);
}

static void elections(void)
{
    struct etcd_client *client = open_client();
    struct etcd_session *first = NULL;
    struct etcd_session *second = NULL;
    struct etcd_claim *leader = NULL;
    struct etcd_claim *next = NULL;
    struct etcd_result *result = NULL;
    struct etcd_error error;
    struct etcd_slice name = etcd_str("elections/e");
    struct observed observed = {.values = ""};
    gate_init(&observed.gate, client);
    CHECK(etcd_leader(client, name, &result, &error) == ETCD_NO_LEADER);
    struct etcd_observer *observer = etcd_observe_open(client, name, on_leader, &observed);
    OK(etcd_session_open(client, 10, NULL, NULL, &first, &error));
    OK(etcd_session_open(client, 10, NULL, NULL, &second, &error));
    OK(etcd_campaign(first, name, etcd_str("one"), 0, &leader, &error));
    gate_await(&observed.gate, 1);
    CHECK(etcd_campaign(second, name, etcd_str("two"), 100, &next, &error) ==
          ETCD_DEADLINE_EXCEEDED);
    OK(etcd_proclaim(leader, etcd_str("uno"), &error));
    gate_await(&observed.gate, 2);
    OK(etcd_leader(client, name, &result, &error));
    CHECK(result->kv_count == 1 && is(result->kvs[0].value, "uno"));
    etcd_result_free(&result);
    OK(etcd_release(&leader, &error));
    OK(etcd_campaign(second, name, etcd_str("two"), 0, &next, &error));
    gate_await(&observed.gate, 3);
    CHECK(strcmp(observed.values, "one;uno;two;") == 0);
    /* A leader whose key has gone is none any more. */
    struct etcd_slice key = etcd_claim_key(next);
    struct etcd_op op = etcd_op_delete(key);
    OK(etcd_do(client, &op, NULL, &error));
    CHECK(etcd_proclaim(next, etcd_str("dos"), &error) == ETCD_NOT_LEADER);
    OK(etcd_release(&next, &error));
    etcd_observe_close(&observer);
    etcd_session_close(&first);
    etcd_session_close(&second);
    etcd_close(&client);
}

/* ---- transactional memory ------------------------------------------------------------------ */

static int64_t number_of(struct etcd_slice slice)
{
    char text[32];
    snprintf(text, sizeof(text), "%.*s", (int)slice.len, (const char *)slice.data);
    return strtoll(text, NULL, 10);
}

static void put_number(struct etcd_stm *stm, const char *key, int64_t number)
{
    char text[32];
    snprintf(text, sizeof(text), "%lld", (long long)number);
    etcd_stm_put(stm, etcd_str(key), etcd_str(text), 0);
}

#define ACCOUNTS 5

struct transfer {
    pthread_t id;
    struct etcd_client *client;
    enum etcd_isolation isolation;
    unsigned seed;
    char from[16];
    char to[16];
};

static int move_one(struct etcd_stm *stm, void *ctx)
{
    const struct transfer *transfer = ctx;
    int64_t from = number_of(etcd_stm_get(stm, etcd_str(transfer->from)));
    int64_t to = number_of(etcd_stm_get(stm, etcd_str(transfer->to)));
    put_number(stm, transfer->from, from - 1);
    put_number(stm, transfer->to, to + 1);
    /* What it has written itself it reads. */
    CHECK(number_of(etcd_stm_get(stm, etcd_str(transfer->to))) == to + 1);
    return ETCD_OK;
}

static void *transfer_some(void *arg)
{
    struct transfer *transfer = arg;
    struct etcd_error error;
    for (int i = 0; i < 20; i++) {
        int from = (int)(rand_r(&transfer->seed) % ACCOUNTS);
        int to = (from + 1 + (int)(rand_r(&transfer->seed) % (ACCOUNTS - 1))) % ACCOUNTS;
        snprintf(transfer->from, sizeof(transfer->from), "account/%d", from);
        snprintf(transfer->to, sizeof(transfer->to), "account/%d", to);
        OK(etcd_stm(transfer->client, transfer->isolation, move_one, transfer, NULL, &error));
    }
    return NULL;
}

static void stm_money_is_kept(void)
{
    static const enum etcd_isolation checked[] = {
        ETCD_SERIALIZABLE_SNAPSHOT, ETCD_ISOLATION_SERIALIZABLE, ETCD_REPEATABLE_READS};
    struct etcd_client *client = open_client();
    struct etcd_error error;
    for (size_t level = 0; level < 3; level++) {
        struct transfer transfers[4];
        struct etcd_result *result = NULL;
        char key[16];
        for (int i = 0; i < ACCOUNTS; i++) {
            snprintf(key, sizeof(key), "account/%d", i);
            OK(etcd_put(client, key, "100", &error));
        }
        for (unsigned i = 0; i < 4; i++) {
            transfers[i] =
                (struct transfer){.client = client, .isolation = checked[level], .seed = i};
            CHECK(pthread_create(&transfers[i].id, NULL, transfer_some, &transfers[i]) == 0);
        }
        for (int i = 0; i < 4; i++) {
            pthread_join(transfers[i].id, NULL);
        }
        struct etcd_op op = etcd_op_get(etcd_str("account/"));
        op.flags = ETCD_PREFIX;
        OK(etcd_do(client, &op, &result, &error));
        int64_t sum = 0;
        for (size_t i = 0; i < result->kv_count; i++) {
            sum += number_of(result->kvs[i].value);
        }
        CHECK(result->kv_count == ACCOUNTS && sum == 100 * ACCOUNTS);
        etcd_result_free(&result);
    }
    etcd_close(&client);
}

/* A body in whose first run somebody writes what it has read, or will write. */
struct disturbed {
    struct etcd_client *client;
    const char *disturbs; /* the key; NULL: none */
    int runs;
    int result;
};

static int body(struct etcd_stm *stm, void *ctx)
{
    struct disturbed *disturbed = ctx;
    struct etcd_error error;
    (void)etcd_stm_get(stm, etcd_str("stm/read"));
    if (disturbed->runs++ == 0 && disturbed->disturbs != NULL) {
        OK(etcd_put(disturbed->client, disturbed->disturbs, "disturbed", &error));
    }
    etcd_stm_put(stm, etcd_str("stm/write"), etcd_str("mine"), 0);
    etcd_stm_delete(stm, etcd_str("stm/gone"));
    return disturbed->result;
}

static void stm_isolation_levels(void)
{
    static const struct {
        enum etcd_isolation isolation;
        const char *disturbs;
        int runs;
    } cases[] = {
        {ETCD_SERIALIZABLE_SNAPSHOT, NULL, 1},         {ETCD_SERIALIZABLE_SNAPSHOT, "stm/read", 2},
        {ETCD_SERIALIZABLE_SNAPSHOT, "stm/write", 2},  {ETCD_ISOLATION_SERIALIZABLE, "stm/read", 2},
        {ETCD_ISOLATION_SERIALIZABLE, "stm/write", 1}, {ETCD_REPEATABLE_READS, "stm/read", 2},
        {ETCD_REPEATABLE_READS, "stm/write", 1},       {ETCD_READ_COMMITTED, "stm/read", 1},
        {ETCD_READ_COMMITTED, "stm/write", 1},
    };
    struct etcd_client *client = open_client();
    struct etcd_error error;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct disturbed disturbed = {.client = client, .disturbs = cases[i].disturbs};
        struct etcd_result *result = NULL;
        OK(etcd_put(client, "stm/read", "start", &error));
        OK(etcd_put(client, "stm/write", "start", &error));
        OK(etcd_put(client, "stm/gone", "start", &error));
        OK(etcd_stm(client, cases[i].isolation, body, &disturbed, &result, &error));
        CHECK(result->succeeded);
        etcd_result_free(&result);
        CHECK(disturbed.runs == cases[i].runs);
        expect_value(client, "stm/write", "mine");
        expect_value(client, "stm/gone", NULL);
    }
    /* Given up: nothing is written. */
    struct disturbed disturbed = {.client = client, .result = ETCD_ABORTED};
    OK(etcd_put(client, "stm/write", "start", &error));
    CHECK(etcd_stm(client, ETCD_REPEATABLE_READS, body, &disturbed, NULL, &error) == ETCD_ABORTED);
    expect_value(client, "stm/write", "start");
    etcd_close(&client);
}

static int read_two(struct etcd_stm *stm, void *ctx)
{
    struct disturbed *disturbed = ctx;
    struct etcd_error error;
    int64_t a = number_of(etcd_stm_get(stm, etcd_str("two/a")));
    if (disturbed->runs++ == 0) {
        OK(etcd_put(disturbed->client, "two/a", "2", &error));
        OK(etcd_put(disturbed->client, "two/b", "2", &error));
    }
    int64_t b = number_of(etcd_stm_get(stm, etcd_str("two/b")));
    disturbed->result = a == b;
    CHECK(etcd_stm_revision(stm, etcd_str("two/a")) > 0);
    CHECK(etcd_stm_revision(stm, etcd_str("two/none")) == 0);
    return ETCD_OK;
}

static void stm_reads_one_revision(void)
{
    struct etcd_client *client = open_client();
    struct etcd_error error;
    for (int i = 0; i < 2; i++) {
        struct disturbed disturbed = {.client = client};
        OK(etcd_put(client, "two/a", "1", &error));
        OK(etcd_put(client, "two/b", "1", &error));
        OK(etcd_stm(client, i == 0 ? ETCD_ISOLATION_SERIALIZABLE : ETCD_READ_COMMITTED, read_two,
                    &disturbed, NULL, &error));
        CHECK(disturbed.result == (i == 0));
    }
    etcd_close(&client);
}

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    {"requests", requests},
    {"transactions", transactions},
    {"async", async},
    {"threads", threads},
    {"closing", closing},
    {"watches", watches},
    {"watch_calls_back", watch_calls_back},
    {"watch_held_back", watch_held_back},
    {"leases", leases},
    {"locks", locks},
    {"lock_refusals", lock_refusals},
    {"session_is_lost", session_is_lost},
    {"elections", elections},
    {"stm_money_is_kept", stm_money_is_kept},
    {"stm_isolation_levels", stm_isolation_levels},
    {"stm_reads_one_revision", stm_reads_one_revision},
};

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: etcdclient_check ENDPOINT[,ENDPOINT…] [NAME]\n");
        return 2;
    }
    for (char *word = strtok(argv[1], ","); word != NULL && endpoint_count < 8;
         word = strtok(NULL, ",")) {
        endpoints[endpoint_count++] = word;
    }
    CHECK(strcmp(etcd_client_version(), ETCDCLIENT_VERSION) == 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        if (argc < 3 || strcmp(argv[2], tests[i].name) == 0) {
            tests[i].run();
            printf("ok - %s\n", tests[i].name);
        }
    }
    return 0;
}
