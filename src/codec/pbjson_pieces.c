/* The whole fields of a piece are a message by themselves, since protobuf is merged by putting one
 * behind the other. So they are decoded and written as one, and of its JSON
 *
 *     {"kvs":[{…},{…}]}
 *
 * the end stays off while the next piece may go on with the same list, and the beginning if this
 * one does. */
#include "codec/pbjson.h"

#include "codec/pb_priv.h"
#include "codec/pbwire.h"

#include <string.h>

void pbjson_pieces_init(struct pbjson_pieces *pieces, const ProtobufCMessageDescriptor *type)
{
    *pieces = (struct pbjson_pieces){.type = type};
}

void pbjson_pieces_fini(struct pbjson_pieces *pieces)
{
    buf_fini(&pieces->rest);
}

/* The whole fields at the front of a text: how long they are, the first and the last of them. */
struct run {
    size_t len;
    pb_field *first;
    pb_field *last;
};

static struct run whole_fields(pb_type *type, struct slice text)
{
    struct run run = {0};
    struct pbwire_iter it = pbwire_iter_init(text);
    struct pbwire_field field;
    while (pbwire_next(&it, &field)) {
        run.last = protobuf_c_message_descriptor_get_field(type, field.number);
        ASSERT(run.last != NULL);
        run.first = run.first == NULL ? run.last : run.first;
        run.len = (size_t)(it.next - text.data);
    }
    ASSERT(it.err == ERR_OK || it.err == ERR_EOF);
    return run;
}

static bool is_repeated(pb_field *field)
{
    return field->label == PROTOBUF_C_LABEL_REPEATED;
}

static void close_list(struct pbjson_pieces *pieces, struct buf *out)
{
    if (pieces->open != NULL) {
        buf_append_byte(out, ']');
        pieces->open = NULL;
    }
}

static void add_fields(struct pbjson_pieces *pieces, struct slice bytes, const struct run *run,
                       struct buf *out)
{
    struct arena arena;
    struct buf json = {0};
    void *message = NULL;
    arena_init(&arena);
    enum err err = pb_decode_limits(&arena, pieces->type, bytes, PB_LIMITS_NONE, &message, NULL);
    ASSERT(err == ERR_OK);
    pbjson_encode(message, PBJSON_PROTO, &json);
    arena_fini(&arena);
    struct slice inside = slice_of(json.data + 1, json.len - 2); /* without the braces */
    if (pieces->open == run->first && pieces->open != NULL) {
        inside = slice_skip(inside, strlen("\"\":[") + strlen(run->first->name));
    } else {
        close_list(pieces, out);
    }
    bool is_open = is_repeated(run->last);
    inside.len -= is_open;
    if (inside.len > 0 && pieces->has_fields) {
        buf_append_byte(out, ',');
    }
    buf_append_slice(out, inside);
    pieces->has_fields = pieces->has_fields || inside.len > 0;
    pieces->open = is_open ? run->last : NULL;
    buf_fini(&json);
}

void pbjson_pieces_add(struct pbjson_pieces *pieces, struct slice piece, bool is_last,
                       struct buf *out)
{
    if (!pieces->has_begun) {
        pieces->has_begun = true;
        buf_append_byte(out, '{');
    }
    struct slice text = piece;
    if (pieces->rest.len > 0) {
        buf_append_slice(&pieces->rest, piece);
        text = buf_slice(&pieces->rest);
    }
    struct run run = whole_fields(pieces->type, text);
    if (run.len > 0) {
        add_fields(pieces, slice_of(text.data, run.len), &run, out);
    }
    if (pieces->rest.len > 0) {
        buf_consume(&pieces->rest, run.len);
    } else {
        buf_append_slice(&pieces->rest, slice_skip(text, run.len));
    }
    if (is_last) {
        ASSERT(pieces->rest.len == 0);
        close_list(pieces, out);
        buf_append_byte(out, '}');
    }
}
