/* Requests as bytes, written by hand: one is made for every answer, and on the same core as the
 * rest of the load.
 *
 *   PutRequest    { key = 1, value = 2 }            RangeRequest  in bench->read_op
 *   TxnRequest    { success = 2 }                   RequestOp     { range = 1, put = 2 }
 *
 * A key is a number as a signed varint (Go's binary.PutVarint), with zeros behind it. etcd's tool
 * leaves there what an earlier, longer number had left; here --key-space-size is exact. */
#include "ctl/bench_priv.h"

#include "codec/pbwire.h"

#define SIZE_LIMIT ((int64_t)1 << 30)

/* Source: Marsaglia, "Xorshift RNGs" (2003), with a multiplier (Vigna's xorshift64*). */
uint64_t bench__random(struct bench *bench)
{
    uint64_t x = bench->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    bench->random = x;
    return x * 0x2545f4914f6cdd1d;
}

static uint64_t zigzag(uint64_t number)
{
    return number << 1; /* never negative */
}

bool bench__keys(const struct command_call *call)
{
    struct bench *bench = bench_of(call);
    int64_t space = pflag_i64(call->flags, "key-space-size");
    int64_t key_size = pflag_i64(call->flags, "key-size");
    int64_t val_size = pflag_i64(call->flags, "val-size");
    if (space <= 0) {
        bench__fail(bench, "expected positive --key-space-size, got (%lld)", (long long)space);
        return false;
    }
    if (val_size < 0 || val_size > SIZE_LIMIT || key_size > SIZE_LIMIT) {
        bench__fail(bench, "--key-size and --val-size must be from 0 to %lld",
                    (long long)SIZE_LIMIT);
        return false;
    }
    if (key_size < (int64_t)pbwire_varint_size(zigzag((uint64_t)space - 1))) {
        bench__fail(bench, "--key-size %lld is too small for %lld different keys",
                    (long long)key_size, (long long)space);
        return false;
    }
    bench->key_space = (uint64_t)space;
    memset(buf_extend(&bench->key, (size_t)key_size), 0, (size_t)key_size);
    env_random(bench->env, buf_extend(&bench->value, (size_t)val_size), (size_t)val_size);
    return true;
}

static void set_key(struct bench *bench, uint64_t number)
{
    size_t head = bench->key.len < PBWIRE_VARINT_MAX ? bench->key.len : PBWIRE_VARINT_MAX;
    memset(bench->key.data, 0, head);
    pbwire_put_varint(bench->key.data, zigzag(number));
}

static size_t put_size(const struct bench *bench)
{
    size_t value = bench->value.len == 0 ? 0 : pbwire_bytes_size(2, bench->value.len);
    return pbwire_bytes_size(1, bench->prefix.len + bench->key.len) + value;
}

static uint8_t *put_put(const struct bench *bench, uint8_t *at)
{
    at = pbwire_put_head(at, 1, bench->prefix.len + bench->key.len);
    if (bench->prefix.len > 0) {
        memcpy(at, bench->prefix.data, bench->prefix.len);
        at += bench->prefix.len;
    }
    memcpy(at, bench->key.data, bench->key.len);
    at += bench->key.len;
    return bench->value.len == 0 ? at : pbwire_put_bytes(at, 2, buf_slice(&bench->value));
}

/* The put of the current key as one operation of a transaction. */
static void append_put_op(struct bench *bench, struct buf *request)
{
    size_t put = put_size(bench);
    size_t op = pbwire_bytes_size(2, put);
    uint8_t *at = buf_extend(request, pbwire_bytes_size(2, op));
    at = pbwire_put_head(at, 2, op);
    at = pbwire_put_head(at, 2, put);
    at = put_put(bench, at);
    ASSERT(at == request->data + request->len);
}

unsigned bench__next_put(void *ctx, uint64_t index, struct buf *request)
{
    struct bench *bench = ctx;
    set_key(bench, (bench->is_sequential ? index : bench__random(bench)) % bench->key_space);
    uint8_t *at = put_put(bench, buf_extend(request, put_size(bench)));
    ASSERT(at == request->data + request->len);
    return 0;
}

unsigned bench__next_range(void *ctx, uint64_t index, struct buf *request)
{
    struct bench *bench = ctx;
    UNUSED(index);
    buf_append_slice(request, bench->read_op);
    return 0;
}

unsigned bench__next_txn_put(void *ctx, uint64_t index, struct buf *request)
{
    struct bench *bench = ctx;
    for (uint64_t i = 0; i < bench->ops_per_txn; i++) {
        set_key(bench, (index * bench->ops_per_txn + i) % bench->key_space);
        append_put_op(bench, request);
    }
    return 0;
}

unsigned bench__next_mixed(void *ctx, uint64_t index, struct buf *request)
{
    struct bench *bench = ctx;
    double chance = (double)(bench__random(bench) >> 11) / (double)((uint64_t)1 << 53);
    if (chance >= bench->read_share) {
        set_key(bench, index % bench->key_space);
        append_put_op(bench, request);
        bench->counts[BENCH_WRITE]++;
        return BENCH_WRITE;
    }
    size_t op = pbwire_bytes_size(1, bench->read_op.len);
    uint8_t *at = buf_extend(request, pbwire_bytes_size(2, op));
    at = pbwire_put_head(at, 2, op);
    at = pbwire_put_bytes(at, 1, bench->read_op);
    ASSERT(at == request->data + request->len);
    bench->counts[BENCH_READ]++;
    return BENCH_READ;
}
