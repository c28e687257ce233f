/* txn: three blocks of lines, each ended by an empty line, from standard input. */
#include "ctl/ctl_priv.h"
#include "ctl/goscan.h"
#include "ctl/txn_parse.h"

#include "codec/pb.h"

struct txn_reader {
    struct ctl *ctl;
    bool is_interactive;
    int code; /* of the first failure, which has been printed */
    struct buf line;
};

/* Messages as they gather; the arrays grow by doubling in the arena. */
struct messages {
    void **items;
    size_t count;
};

static void messages_push(struct arena *arena, struct messages *messages, void *item)
{
    if ((messages->count & (messages->count - 1)) == 0) {
        size_t cap = messages->count == 0 ? 1 : messages->count * 2;
        void **items = arena_alloc(arena, cap * sizeof(*items));
        if (messages->count > 0) {
            memcpy((void *)items, (void *)messages->items, messages->count * sizeof(*items));
        }
        messages->items = items;
    }
    messages->items[messages->count++] = item;
}

static void prompt(const struct txn_reader *reader, const char *text)
{
    if (reader->is_interactive && reader->code == CTL_OK) {
        buf_printf(&reader->ctl->out, "%s\n", text);
        ctl__flush(reader->ctl);
    }
}

static void fail(struct txn_reader *reader, int code, struct slice why)
{
    reader->code = ctl__fail_text(reader->ctl, code, why);
}

/* The next line of the block into *out, which the arena keeps; false at its end or on failure. */
static bool next_line(struct txn_reader *reader, struct slice *out)
{
    if (reader->code != CTL_OK) {
        return false;
    }
    buf_reset(&reader->line);
    enum err err = ctl__read_line(reader->ctl, TXN_LINE_MAX, &reader->line);
    if (err != ERR_OK) {
        fail(reader, CTL_INVALID_INPUT,
             err == ERR_EOF ? SLICE("EOF") : SLICE("a line of the transaction is too long"));
        return false;
    }
    struct slice line = goscan_trim(buf_slice(&reader->line));
    *out = slice_of(arena_dup(&reader->ctl->arena, line.data, line.len), line.len);
    return line.len > 0;
}

static void read_compares(struct txn_reader *reader, struct messages *out)
{
    struct slice line;
    struct buf why = {0};
    while (next_line(reader, &line)) {
        Etcdserverpb__Compare *compare = NULL;
        int code = txn_parse_compare(&reader->ctl->arena, line, &compare, &why);
        if (code != CTL_OK) {
            fail(reader, code, buf_slice(&why));
        } else {
            messages_push(&reader->ctl->arena, out, compare);
        }
    }
    buf_fini(&why);
}

#define DEL_DELAY_NS (2 * NS_PER_SEC)

static void read_ops(struct txn_reader *reader, struct messages *out)
{
    struct ctl *ctl = reader->ctl;
    struct slice line;
    struct buf why = {0};
    while (next_line(reader, &line)) {
        Etcdserverpb__RequestOp *op = NULL;
        int code = txn_parse_op(&ctl->arena, line, &ctl->input, &op, &ctl->err, &why);
        if (code != CTL_OK) {
            fail(reader, code, buf_slice(&why));
            continue;
        }
        if (ctl->err.len > 0) {
            ctl__sleep(ctl, DEL_DELAY_NS);
        }
        messages_push(&ctl->arena, out, op);
    }
    buf_fini(&why);
}

static int commit(struct ctl *ctl, const Etcdserverpb__TxnRequest *txn)
{
    struct ctl_rpc rpc = {.path = "/etcdserverpb.KV/Txn",
                          .request = txn,
                          .reply_type = &etcdserverpb__txn_response__descriptor,
                          .deadline = UINT64_MAX}; /* etcdctl gives it none */
    if (!ctl__call(ctl, ctl->client, &rpc)) {
        return ctl__fail_text(ctl, CTL_ERROR, slice_str(rpc.error));
    }
    return ctl__shown(ctl, print_txn(&ctl->printer, rpc.reply));
}

int ctl__txn_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    if (pflag_narg(call->flags) != 0) {
        return ctl__fail(ctl, CTL_BAD_ARGS, "txn command does not accept argument");
    }
    int code = ctl__open(ctl, call);
    if (code != CTL_OK) {
        return code;
    }
    struct txn_reader reader = {.ctl = ctl,
                                .is_interactive = pflag_bool(call->flags, "interactive")};
    struct messages compares = {0};
    struct messages success = {0};
    struct messages failure = {0};
    prompt(&reader, "compares:");
    read_compares(&reader, &compares);
    prompt(&reader, "success requests (get, put, del):");
    read_ops(&reader, &success);
    prompt(&reader, "failure requests (get, put, del):");
    read_ops(&reader, &failure);
    buf_fini(&reader.line);
    if (reader.code != CTL_OK) {
        return reader.code;
    }
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    txn.n_compare = compares.count;
    txn.compare = (Etcdserverpb__Compare **)(void *)compares.items;
    txn.n_success = success.count;
    txn.success = (Etcdserverpb__RequestOp **)(void *)success.items;
    txn.n_failure = failure.count;
    txn.failure = (Etcdserverpb__RequestOp **)(void *)failure.items;
    return commit(ctl, &txn);
}
