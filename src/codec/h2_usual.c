#include "codec/h2_usual.h"

void h2_usual_init(struct h2_usual *usual, const struct h2_field *fields, size_t count)
{
    ASSERT(count <= H2_USUAL_MAX);
    *usual = (struct h2_usual){.fields = fields, .count = count};
    for (size_t i = 0; i < count; i++) {
        ASSERT(fields[i].name.len < 0x7f);
        ASSERT(fields[i].value.len < 0x7f);
    }
}

void h2_usual_forget(struct h2_usual *usual)
{
    usual->len = 0;
}

bool h2_usual_is_known(const struct h2_usual *usual)
{
    return usual->len > 0;
}

/* An index of one byte is 1 to 126; more would need a second. */
bool h2_usual_is_pure(struct slice block)
{
    for (size_t i = 0; i < block.len; i++) {
        if (block.data[i] <= 0x80 || block.data[i] == 0xff) {
            return false;
        }
    }
    return block.len > 0;
}

void h2_usual_learn(struct h2_usual *usual, struct slice block)
{
    if (block.len == usual->count && h2_usual_is_pure(block)) {
        memcpy(usual->bytes, block.data, block.len);
        usual->len = block.len;
    }
}

static void string_put(struct slice text, struct buf *out)
{
    buf_append_byte(out, (uint8_t)text.len);
    buf_append_slice(out, text);
}

struct slice h2_usual_block(const struct h2_usual *usual, struct buf *scratch)
{
    if (h2_usual_is_known(usual)) {
        return slice_of(usual->bytes, usual->len);
    }
    for (size_t i = 0; i < usual->count; i++) {
        buf_append_byte(scratch, 0); /* RFC 7541 section 6.2.2: not indexed, with a new name */
        string_put(usual->fields[i].name, scratch);
        string_put(usual->fields[i].value, scratch);
    }
    return buf_slice(scratch);
}
