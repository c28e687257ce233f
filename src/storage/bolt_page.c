/* Bytes of pages. All integers are little-endian; docs/formats/bolt.md has the offsets. */
#include "storage/bolt_priv.h"

#include "base/digest.h"

_Static_assert(PAGE_SIZE_MIN >= PAGE_HEADER_LEN + META_LEN, "a meta fits in any page");

/* Offsets in a meta, behind the page header. */
enum {
    META_OFF_MAGIC = 0,
    META_OFF_VERSION = 4,
    META_OFF_PAGE_SIZE = 8,
    META_OFF_FLAGS = 12,
    META_OFF_ROOT = 16,
    META_OFF_SEQUENCE = 24,
    META_OFF_FREELIST = 32,
    META_OFF_HWM = 40,
    META_OFF_TXID = 48,
    META_OFF_CHECKSUM = 56,
};

void bolt__meta_encode(const struct bolt_meta *meta, uint64_t pgno, uint8_t *page)
{
    memset(page, 0, PAGE_HEADER_LEN + META_LEN);
    bolt__page_header(page, pgno, PAGE_META, 0, 0);
    uint8_t *out = page + PAGE_HEADER_LEN;
    put_le32(out + META_OFF_MAGIC, META_MAGIC);
    put_le32(out + META_OFF_VERSION, META_VERSION);
    put_le32(out + META_OFF_PAGE_SIZE, meta->page_size);
    put_le32(out + META_OFF_FLAGS, 0);
    put_le64(out + META_OFF_ROOT, meta->root);
    put_le64(out + META_OFF_SEQUENCE, meta->sequence);
    put_le64(out + META_OFF_FREELIST, meta->freelist);
    put_le64(out + META_OFF_HWM, meta->hwm);
    put_le64(out + META_OFF_TXID, meta->txid);
    put_le64(out + META_OFF_CHECKSUM, fnv1a64(out, META_OFF_CHECKSUM));
}

bool bolt__meta_decode(const uint8_t *page, struct bolt_meta *out)
{
    const uint8_t *in = page + PAGE_HEADER_LEN;
    if (get_le32(in + META_OFF_MAGIC) != META_MAGIC ||
        get_le32(in + META_OFF_VERSION) != META_VERSION ||
        get_le64(in + META_OFF_CHECKSUM) != fnv1a64(in, META_OFF_CHECKSUM)) {
        return false;
    }
    uint32_t page_size = get_le32(in + META_OFF_PAGE_SIZE);
    if (page_size < PAGE_SIZE_MIN || page_size > PAGE_SIZE_MAX ||
        (page_size & (page_size - 1)) != 0) {
        return false;
    }
    *out = (struct bolt_meta){
        .page_size = page_size,
        .root = get_le64(in + META_OFF_ROOT),
        .sequence = get_le64(in + META_OFF_SEQUENCE),
        .freelist = get_le64(in + META_OFF_FREELIST),
        .hwm = get_le64(in + META_OFF_HWM),
        .txid = get_le64(in + META_OFF_TXID),
    };
    return true;
}

void bolt__page_header(uint8_t *page, uint64_t pgno, uint16_t flags, uint32_t count,
                       uint32_t overflow)
{
    ASSERT(count <= UINT16_MAX);
    put_le64(page, pgno);
    put_le16(page + 8, flags);
    put_le16(page + 10, (uint16_t)count);
    put_le32(page + 12, overflow);
}

bool bolt__page_parse(const uint8_t *data, size_t len, struct bolt_page *out, const char **problem)
{
    ASSERT(len >= PAGE_HEADER_LEN);
    uint16_t flags = get_le16(data + 8);
    if (flags != PAGE_BRANCH && flags != PAGE_LEAF) {
        *problem = "is neither a branch nor a leaf";
        return false;
    }
    uint32_t count = get_le16(data + 10);
    if (PAGE_HEADER_LEN + (uint64_t)count * ELEM_LEN > len) {
        *problem = "has more elements than fit";
        return false;
    }
    if (flags == PAGE_BRANCH && count == 0) {
        *problem = "is a branch without children";
        return false;
    }
    *out =
        (struct bolt_page){.data = data, .len = len, .count = count, .is_leaf = flags == PAGE_LEAF};
    return true;
}

bool bolt__page_elem(const struct bolt_page *page, uint32_t i, struct bolt_elem *out)
{
    ASSERT(i < page->count);
    struct slice key;
    if (!bolt__page_key(page, i, &key)) {
        return false;
    }
    uint64_t at = PAGE_HEADER_LEN + (uint64_t)i * ELEM_LEN;
    const uint8_t *elem = page->data + at;
    if (!page->is_leaf) {
        *out = (struct bolt_elem){.key = key, .pgno = get_le64(elem + 8)};
        return true;
    }
    uint64_t value_len = get_le32(elem + 12);
    if (at + get_le32(elem + 4) + key.len + value_len > page->len) {
        return false;
    }
    *out = (struct bolt_elem){
        .key = key, .value = slice_of(key.data + key.len, value_len), .flags = get_le32(elem)};
    return true;
}

/* Compares like slice_cmp(). Keys of rows differ in their first 8 bytes, as a rule. */
static int key_cmp(struct slice a, struct slice b, uint64_t b_start)
{
    if (a.len >= 8 && b.len >= 8) {
        uint64_t a_start = get_be64(a.data);
        if (a_start != b_start) {
            return a_start < b_start ? -1 : 1;
        }
    }
    return slice_cmp(a, b);
}

bool bolt__page_search(const struct bolt_page *page, struct slice key, uint32_t *index_out,
                       bool *exact_out)
{
    uint32_t low = 0;
    uint32_t high = page->count;
    bool exact = false;
    uint64_t start = key.len >= 8 ? get_be64(key.data) : 0;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        struct slice at;
        if (!bolt__page_key(page, mid, &at)) {
            return false;
        }
        int order = key_cmp(at, key, start);
        if (order == 0) {
            low = mid;
            exact = true;
            break;
        }
        if (order < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    *index_out = low;
    *exact_out = exact;
    return true;
}
