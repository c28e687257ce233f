/* Checksums of pages, in a place that bbolt does not look at.
 *
 * A page says itself where each key is, so nothing has to stand between its elements and its first
 * key; bbolt puts the key there at once, we leave SEAL_LEN bytes for a seal:
 *
 *   offset  size  behind the last element
 *   0       4     CRC-32C of the whole page, overflow included, with these four bytes as zeros
 *   4       8     the transaction that wrote the page
 *
 * Which of the two a page is stands in its first element: the key's position is the length of the
 * elements, or that and SEAL_LEN. Any other position is damage, and so is a wrong checksum. A page
 * without elements is Go's when nothing but zeros is in it. So:
 *
 *   - any one flipped bit of a sealed page is found: where it changes the first position, the
 *     count of elements or the kind of page, the position fits neither; elsewhere the sum is wrong
 *   - a page of Go's is told by itself, without a record in the file that Go would not keep up; it
 *     goes without a checksum until it is written anew
 *
 * What was weighed: docs/notes/page-checksums.md. */
#include "storage/bolt_priv.h"

#include "base/digest.h"

#define SEAL_OFF_CRC 0
#define SEAL_OFF_TXID 4

_Static_assert(SEAL_OFF_TXID + 8 == SEAL_LEN, "all of it is used");
_Static_assert((SEAL_LEN & (SEAL_LEN - 1)) != 0, "two bits apart from no seal at all");
_Static_assert(SEAL_LEN < ELEM_LEN, "no number of elements more makes the same position");

static size_t seal_offset(uint32_t count)
{
    return PAGE_HEADER_LEN + (size_t)count * ELEM_LEN;
}

static uint32_t page_crc(const uint8_t *page, size_t len, size_t seal)
{
    static const uint8_t zeros[4];
    size_t rest = seal + SEAL_OFF_TXID;
    uint32_t crc = crc32c(0, page, seal);
    crc = crc32c(crc, zeros, sizeof(zeros));
    return crc32c(crc, page + rest, len - rest);
}

void bolt__seal_put(uint8_t *page, size_t len, uint64_t txid)
{
    uint32_t count = get_le16(page + 10);
    size_t seal = seal_offset(count);
    ASSERT(seal + SEAL_LEN <= len);
    put_le64(page + seal + SEAL_OFF_TXID, txid);
    put_le32(page + seal + SEAL_OFF_CRC, page_crc(page, len, seal));
}

static uint64_t first_position(const struct bolt_page *page)
{
    return PAGE_HEADER_LEN +
           (uint64_t)get_le32(page->data + PAGE_HEADER_LEN + (page->is_leaf ? 4 : 0));
}

/* Nothing behind the header: an empty page of Go's, which zeroes what it does not use. */
static bool is_blank(const struct bolt_page *page)
{
    const uint8_t *behind = page->data + PAGE_HEADER_LEN;
    size_t len = page->len - PAGE_HEADER_LEN;
    return behind[0] == 0 && memcmp(behind, behind + 1, len - 1) == 0;
}

enum bolt_seal bolt__seal_check(const struct bolt_page *page, uint64_t txid, const char **problem)
{
    size_t seal = seal_offset(page->count);
    if (page->count == 0 && is_blank(page)) {
        return SEAL_NONE;
    }
    uint64_t position = page->count == 0 ? seal + SEAL_LEN : first_position(page);
    if (position == seal) {
        return SEAL_NONE;
    }
    if (position != seal + SEAL_LEN || position > page->len) {
        *problem = "has its first key in an impossible place";
        return SEAL_BROKEN;
    }
    if (get_le32(page->data + seal + SEAL_OFF_CRC) != page_crc(page->data, page->len, seal)) {
        *problem = "does not have the checksum that was written with it";
        return SEAL_BROKEN;
    }
    if (get_le64(page->data + seal + SEAL_OFF_TXID) > txid) {
        *problem = "was written by a later transaction than the one that refers to it";
        return SEAL_BROKEN;
    }
    return SEAL_GOOD;
}

/* ---- which pages have been looked at --------------------------------------------------------- */

struct bolt_looked *bolt__looked_new(void)
{
    return NEW(struct bolt_looked);
}

void bolt__looked_free(struct bolt_looked **looked)
{
    struct bolt_looked *done = *looked;
    *looked = NULL;
    if (done == NULL) {
        return;
    }
    for (size_t i = 0; i < SEEN_CHUNKS; i++) {
        mem_free(atomic_load(&done->chunk[i]));
    }
    mem_free(done);
}

/* The word with the bit of `pgno`; NULL where there is none yet. */
static _Atomic(uint64_t) *word_of(const struct bolt_looked *looked, uint64_t pgno)
{
    uint64_t at = pgno / SEEN_CHUNK_PAGES;
    if (at >= SEEN_CHUNKS) {
        return NULL;
    }
    _Atomic(uint64_t) *chunk = atomic_load_explicit(&looked->chunk[at], memory_order_acquire);
    return chunk == NULL ? NULL : &chunk[pgno % SEEN_CHUNK_PAGES / 64];
}

bool bolt__looked_at(const struct bolt_looked *looked, uint64_t pgno)
{
    _Atomic(uint64_t) *word = word_of(looked, pgno);
    return word != NULL &&
           (atomic_load_explicit(word, memory_order_relaxed) >> (pgno % 64) & 1) != 0;
}

static void chunk_add(struct bolt_looked *looked, uint64_t at)
{
    _Atomic(uint64_t) *none = NULL;
    _Atomic(uint64_t) *added = mem_zalloc(SEEN_CHUNK_PAGES / 8);
    if (!atomic_compare_exchange_strong(&looked->chunk[at], &none, added)) {
        mem_free(added);
    }
}

void bolt__looked_set(struct bolt_looked *looked, uint64_t pgno)
{
    if (pgno / SEEN_CHUNK_PAGES >= SEEN_CHUNKS) {
        return;
    }
    if (word_of(looked, pgno) == NULL) {
        chunk_add(looked, pgno / SEEN_CHUNK_PAGES);
    }
    atomic_fetch_or_explicit(word_of(looked, pgno), (uint64_t)1 << (pgno % 64),
                             memory_order_relaxed);
}

void bolt__looked_clear(struct bolt_looked *looked, uint64_t pgno)
{
    _Atomic(uint64_t) *word = word_of(looked, pgno);
    if (word != NULL) {
        atomic_fetch_and_explicit(word, ~((uint64_t)1 << (pgno % 64)), memory_order_relaxed);
    }
}
