/* The reply of a work, from its list of operations: what each of them is long, backwards, so that a
 * transaction comes after all that is in it; then the bytes, forwards, each written once. */
#include "server/work_priv.h"

#include "codec/pbwire.h"

/* rpc.proto */
enum {
    HEADER = 1,
    TXN_SUCCEEDED = 2,
    TXN_RESPONSES = 3,
    DELETED = 2,
};

/* An operation that is measured or laid out. */
#define OP_UNITS ((uint64_t)1)

/* ---- lengths --------------------------------------------------------------------------------- */

/* The first has a whole header, what is in a transaction only a revision, and a transaction in one
 * not even that. */
static struct reply_header header_of(const struct work *work, size_t at)
{
    if (at > 0) {
        return (struct reply_header){.revision = work->ops[at].revision};
    }
    struct reply_header header = apply_header(work->apply);
    header.revision = work->ops[0].revision;
    return header;
}

static size_t header_len(const struct work *work, size_t at)
{
    struct reply_header header = header_of(work, at);
    return pbwire_bytes_size(HEADER, reply_header_len(&header));
}

static uint64_t body_len(const struct work_op *op)
{
    return op->rows != NULL ? range_len(op->rows) : op->body_len;
}

static size_t fields_len(const struct work_op *op)
{
    if (op->kind == WORK_OP_TXN) {
        return op->succeeded ? pbwire_uint_size(TXN_SUCCEEDED, 1) : 0;
    }
    return op->deleted > 0 ? pbwire_uint_size(DELETED, op->deleted) : 0;
}

/* As a ResponseOp's field. */
static uint64_t inner_len(const struct work_op *op)
{
    return op->kind == WORK_OP_NONE ? 0 : pbwire_bytes_size(op->kind, op->len);
}

/* From the last operation to the first. */
bool work__measure(struct work *work, uint64_t *budget)
{
    while (work->at > 0) {
        size_t at = work->at - 1;
        struct work_op *op = &work->ops[at];
        if (*budget == 0) {
            return false;
        }
        if (op->kind != WORK_OP_NONE) {
            op->len += header_len(work, at) + fields_len(op) + body_len(op);
        }
        if (at > 0) {
            work->ops[op->parent].len += pbwire_bytes_size(TXN_RESPONSES, inner_len(op));
        }
        work->at--;
        work__spend(budget, OP_UNITS);
    }
    return true;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static uint64_t rows_len(const struct work *work)
{
    uint64_t len = 0;
    for (size_t i = 0, left = work->kept; left > 0; i++) {
        if (work->ops[i].rows != NULL) {
            len += range_len(work->ops[i].rows);
            left--;
        }
    }
    return len;
}

static void lay_begin(struct work *work)
{
    uint64_t len = work->ops[0].len;
    if (work->kept > 0) {
        size_t cap = 2 * work->kept + 1;
        work->pieces = ARENA_NEW(work->arena, struct pieces);
        pieces_init(work->pieces, arena_alloc(work->arena, cap * sizeof(struct piece)), cap);
        len -= rows_len(work);
    }
    work->text = arena_alloc(work->arena, (size_t)len);
    work->text_from = work->text_end = work->text;
}

/* What was written since the last piece is one. */
static void text_flush(struct work *work)
{
    size_t len = (size_t)(work->text_end - work->text_from);
    if (len > 0) {
        pieces_add_bytes(work->pieces, slice_of(work->text_from, len));
        work->text_from = work->text_end;
    }
}

static uint8_t *put_fields(const struct work_op *op, uint8_t *at)
{
    if (op->kind == WORK_OP_TXN) {
        return op->succeeded ? pbwire_put_uint(at, TXN_SUCCEEDED, 1) : at;
    }
    return op->deleted > 0 ? pbwire_put_uint(at, DELETED, op->deleted) : at;
}

static void lay_op(struct work *work, size_t i)
{
    const struct work_op *op = &work->ops[i];
    uint8_t *at = work->text_end;
    if (i > 0) {
        at = pbwire_put_head(at, TXN_RESPONSES, inner_len(op));
    }
    if (i > 0 && op->kind != WORK_OP_NONE) {
        at = pbwire_put_head(at, op->kind, op->len);
    }
    if (op->kind != WORK_OP_NONE) {
        struct reply_header header = header_of(work, i);
        at = reply_write_header(at, HEADER, &header, reply_header_len(&header));
        at = put_fields(op, at);
    }
    if (op->rows == NULL && op->body_len > 0) {
        memcpy(at, op->body != NULL ? op->body : work->out.data + op->body_at, op->body_len);
        at += op->body_len;
    }
    work->text_end = at;
    if (op->rows != NULL) {
        text_flush(work);
        pieces_add_range(work->pieces, op->rows);
    }
}

bool work__lay_out(struct work *work, uint64_t *budget)
{
    if (work->at == 0) {
        lay_begin(work);
    }
    for (; work->at < work->count; work->at++) {
        if (*budget == 0) {
            return false;
        }
        lay_op(work, work->at);
        work__spend(budget, OP_UNITS + work->ops[work->at].body_len / RANGE_UNIT_BYTES);
    }
    if (work->pieces != NULL) {
        text_flush(work);
        ASSERT(pieces_len(work->pieces) == work->ops[0].len);
    } else {
        ASSERT((uint64_t)(work->text_end - work->text) == work->ops[0].len);
    }
    return true;
}
