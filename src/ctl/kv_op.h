/* put, get and del: their flags, and the requests that their command lines mean. Shared by the
 * commands and by the operations of a transaction.
 *
 * A builder reads parsed flags and arguments and makes a request, or says what is wrong: the exit
 * code etcdctl ends with, and the sentence behind "Error: ".
 *
 * Ownership: requests live in the arena; arguments are borrowed for its life.
 * Threads:   no shared state. */
#ifndef CTL_KV_OP_H
#define CTL_KV_OP_H

#include "base/mem.h"
#include "ctl/command.h"
#include "rpc.pb-c.h"

/* etcdctl's exit codes (cobrautl); functions return them as ints. */
enum {
    CTL_OK = 0,
    CTL_ERROR = 1,
    CTL_BAD_CONNECTION = 2,
    CTL_INVALID_INPUT = 3,
    CTL_BAD_FEATURE = 4,
    CTL_INTERRUPTED = 5,
    CTL_IO = 6,
    CTL_BAD_ARGS = 128,
};

/* Where a value comes from when the command line has none: all of standard input, appended. */
struct kv_input {
    void (*read_all)(void *ctx, struct buf *out);
    void *ctx;
};

/* By name, as help lists them. */
#define KV_PUT_FLAGS 4
#define KV_GET_FLAGS 14
#define KV_DEL_FLAGS 4
extern const struct pflag_spec kv_put_flags[KV_PUT_FLAGS];
extern const struct pflag_spec kv_get_flags[KV_GET_FLAGS];
extern const struct pflag_spec kv_del_flags[KV_DEL_FLAGS];

/* CTL_OK, or the exit code with a sentence appended to *why. */
int kv_op_put(struct arena *arena, const struct pflag_set *flags, const struct kv_input *input,
              Etcdserverpb__PutRequest **out, struct buf *why);
int kv_op_get(struct arena *arena, const struct pflag_set *flags, Etcdserverpb__RangeRequest **out,
              struct buf *why);
/* *warning gets a text when etcdctl warns and waits before it deletes a range without --range. */
int kv_op_del(struct arena *arena, const struct pflag_set *flags,
              Etcdserverpb__DeleteRangeRequest **out, struct buf *warning, struct buf *why);

/* --consistency: l or s. CTL_BAD_FEATURE otherwise. */
int kv_op_consistency(const char *text, bool *is_serializable, struct buf *why);

/* The end of the range of all keys that start with `prefix`. */
struct slice kv_prefix_end(struct arena *arena, struct slice prefix);

/* strconv.ParseInt(text, 16, 64), as leases are written; returns its words for what is wrong, or
 * NULL. */
const char *kv_op_parse_hex(const char *text, int64_t *out);

#endif
