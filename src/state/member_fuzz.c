/* Members' texts of any bytes; the first byte picks the form: a row, attributes, the v2 document of
 * a snapshot file.
 *
 * Property: a refusal has a sentence and leaves nothing; what was read is written to a text that
 * reads back and is written the same. */
#include "state/member.h"

#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef enum err decode_fn(struct slice text, struct member *out, struct errbuf *why);
typedef void encode_fn(const struct member *member, struct buf *out);

static enum err decode_row(struct slice text, struct member *out, struct errbuf *why)
{
    return member_decode_row(text, out, why);
}

static enum err decode_attributes(struct slice text, struct member *out, struct errbuf *why)
{
    return member_decode_attributes(text, out, why);
}

static void check_member(struct slice text, decode_fn *decode, encode_fn *encode)
{
    struct member member = {0};
    struct member again = {0};
    struct errbuf why = {""};
    struct buf first = {0};
    struct buf second = {0};
    if (decode(text, &member, &why) != ERR_OK) {
        ASSERT(why.text[0] != '\0');
        ASSERT(member.name == NULL);
        ASSERT(member.peer_urls.count == 0);
        return;
    }
    ASSERT(member.peer_urls.count <= MEMBER_URLS_MAX);
    ASSERT(member.client_urls.count <= MEMBER_URLS_MAX);
    encode(&member, &first);
    ASSERT(decode(buf_slice(&first), &again, &why) == ERR_OK);
    encode(&again, &second);
    ASSERT(slice_eq(buf_slice(&first), buf_slice(&second)));
    member_fini(&member);
    member_fini(&again);
    buf_fini(&first);
    buf_fini(&second);
}

static void check_document(struct slice text)
{
    struct member_set *set = member_set_new(7);
    struct member_set *again = member_set_new(7);
    struct errbuf why = {""};
    struct buf first = {0};
    struct buf second = {0};
    enum err err = member_set_decode_v2(set, text, &why);
    member_set_check(set);
    if (err != ERR_OK) {
        ASSERT(why.text[0] != '\0');
        ASSERT(err == ERR_CORRUPT || err == ERR_UNSUPPORTED);
    } else {
        member_set_encode_v2(set, 1, &first);
        ASSERT(member_set_decode_v2(again, buf_slice(&first), &why) == ERR_OK);
        member_set_check(again);
        ASSERT(member_set_count(again) == member_set_count(set));
        ASSERT(member_set_removed_count(again) == member_set_removed_count(set));
        member_set_encode_v2(again, 1, &second);
        ASSERT(slice_eq(buf_slice(&first), buf_slice(&second)));
    }
    buf_fini(&first);
    buf_fini(&second);
    member_set_free(&set);
    member_set_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct slice text = slice_of(data + 1, size - 1);
    switch (data[0] % 3) {
    case 0:
        check_member(text, decode_row, member_encode_row);
        break;
    case 1:
        check_member(text, decode_attributes, member_encode_attributes);
        break;
    default:
        check_document(text);
        break;
    }
    return 0;
}
