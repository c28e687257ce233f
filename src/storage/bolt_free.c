/* Free pages: which may be allocated, and which wait until no reader can see them.
 *
 * Bitmaps, a bit a page: 10 GiB of pages take 320 KiB. An allocation takes the lowest run that
 * fits, which keeps the live pages low in the file. Within one write transaction pages only leave
 * `free`, so a position below which nothing fits stays right until the next begin (hint_*,
 * fail_len): a commit walks the bitmap once, not once a page.
 *
 * bbolt keeps sorted arrays or maps of spans; the order of allocation is free by the format. */
#include "storage/bolt_priv.h"

#define WORD_BITS 64u
#define FREE_BLOCK 4096u /* pages */
#define BLOCK_WORDS (FREE_BLOCK / WORD_BITS)

static bool bit_get(const uint64_t *bits, uint64_t at)
{
    return (bits[at / WORD_BITS] >> (at % WORD_BITS) & 1) != 0;
}

static void bit_set(uint64_t *bits, uint64_t at)
{
    bits[at / WORD_BITS] |= (uint64_t)1 << (at % WORD_BITS);
}

static void bit_clear(uint64_t *bits, uint64_t at)
{
    bits[at / WORD_BITS] &= ~((uint64_t)1 << (at % WORD_BITS));
}

static void runs_push(struct bolt_runs *runs, struct bolt_run run)
{
    if (runs->head > 0 && runs->head == runs->count) {
        runs->head = 0;
        runs->count = 0;
    }
    if (runs->count == runs->cap) {
        runs->cap = runs->cap == 0 ? 64 : runs->cap * 2;
        runs->runs = mem_realloc(runs->runs, runs->cap * sizeof(runs->runs[0]));
    }
    runs->runs[runs->count++] = run;
}

static void grow(struct bolt_free *f, uint64_t page_count)
{
    uint64_t words = (page_count + FREE_BLOCK - 1) / FREE_BLOCK * BLOCK_WORDS;
    if (words <= f->word_count) {
        return;
    }
    if (words < f->word_count * 2) {
        words = f->word_count * 2;
    }
    uint64_t added = words - f->word_count;
    f->free = mem_realloc(f->free, words * sizeof(uint64_t));
    f->pending = mem_realloc(f->pending, words * sizeof(uint64_t));
    f->in_block = mem_realloc(f->in_block, words / BLOCK_WORDS * sizeof(uint32_t));
    memset(f->free + f->word_count, 0, added * sizeof(uint64_t));
    memset(f->pending + f->word_count, 0, added * sizeof(uint64_t));
    memset(f->in_block + f->word_count / BLOCK_WORDS, 0, added / BLOCK_WORDS * sizeof(uint32_t));
    f->word_count = words;
}

static void mark_free(struct bolt_free *f, uint64_t pgno)
{
    bit_set(f->free, pgno);
    f->in_block[pgno / FREE_BLOCK]++;
    f->free_count++;
}

static void unmark_free(struct bolt_free *f, uint64_t pgno)
{
    bit_clear(f->free, pgno);
    f->in_block[pgno / FREE_BLOCK]--;
    f->free_count--;
}

static void reset_hints(struct bolt_free *f)
{
    f->hint_one = 0;
    f->hint_run = 0;
    f->run_len = 0;
    f->fail_len = UINT64_MAX;
}

/* The first free page at or after `from`, or UINT64_MAX. */
static uint64_t next_free(const struct bolt_free *f, uint64_t from)
{
    uint64_t word = from / WORD_BITS;
    if (word >= f->word_count) {
        return UINT64_MAX;
    }
    uint64_t bits = f->free[word] & (UINT64_MAX << (from % WORD_BITS));
    while (bits == 0) {
        word++;
        while (word % BLOCK_WORDS == 0 && word < f->word_count &&
               f->in_block[word / BLOCK_WORDS] == 0) {
            word += BLOCK_WORDS;
        }
        if (word >= f->word_count) {
            return UINT64_MAX;
        }
        bits = f->free[word];
    }
    return word * WORD_BITS + (uint64_t)__builtin_ctzll(bits);
}

/* How many pages from `from` on are free, counting no further than `limit`. */
static uint64_t run_length(const struct bolt_free *f, uint64_t from, uint64_t limit)
{
    uint64_t end = f->word_count * WORD_BITS;
    uint64_t len = 0;
    while (len < limit && from + len < end) {
        uint64_t at = from + len;
        uint64_t taken = ~f->free[at / WORD_BITS] >> (at % WORD_BITS);
        uint64_t in_word = WORD_BITS - at % WORD_BITS;
        if (taken != 0) {
            return len + (uint64_t)__builtin_ctzll(taken);
        }
        len += in_word;
    }
    return len;
}

void bolt__free_init(struct bolt_free *f)
{
    *f = (struct bolt_free){0};
    reset_hints(f);
}

void bolt__free_fini(struct bolt_free *f)
{
    mem_free(f->free);
    mem_free(f->pending);
    mem_free(f->in_block);
    mem_free(f->queue.runs);
    mem_free(f->taken.runs);
    *f = (struct bolt_free){0};
}

bool bolt__free_load(struct bolt_free *f, uint64_t pgno, uint64_t count)
{
    grow(f, pgno + count);
    for (uint64_t i = 0; i < count; i++) {
        if (bit_get(f->free, pgno + i)) {
            return false;
        }
        mark_free(f, pgno + i);
    }
    return true;
}

void bolt__free_begin(struct bolt_free *f, uint64_t oldest)
{
    ASSERT(f->taken.count == 0);
    struct bolt_runs *queue = &f->queue;
    while (queue->head < queue->count && queue->runs[queue->head].txid <= oldest) {
        const struct bolt_run *run = &queue->runs[queue->head++];
        for (uint64_t i = 0; i < run->count; i++) {
            bit_clear(f->pending, run->pgno + i);
            mark_free(f, run->pgno + i);
        }
        f->pending_count -= run->count;
    }
    /* Half of the array is spent: move the rest down, so that it does not creep up for ever. */
    if (queue->head > 1024 && queue->head > queue->count / 2) {
        queue->count -= queue->head;
        memmove(queue->runs, queue->runs + queue->head, queue->count * sizeof(queue->runs[0]));
        queue->head = 0;
    }
    reset_hints(f);
}

bool bolt__free_add(struct bolt_free *f, uint64_t txid, uint64_t pgno, uint64_t count)
{
    ASSERT(count > 0);
    grow(f, pgno + count);
    for (uint64_t i = 0; i < count; i++) {
        if (bolt__free_has(f, pgno + i)) {
            return false;
        }
    }
    for (uint64_t i = 0; i < count; i++) {
        bit_set(f->pending, pgno + i);
    }
    f->pending_count += count;
    runs_push(&f->queue, (struct bolt_run){.txid = txid, .pgno = pgno, .count = count});
    return true;
}

static bool find_run(struct bolt_free *f, uint64_t count, uint64_t *pgno_out)
{
    if (count >= f->fail_len) {
        return false;
    }
    /* What was too short for run_len pages may do for fewer. */
    uint64_t from = count < f->run_len ? 0 : f->hint_run;
    for (uint64_t at = next_free(f, from); at != UINT64_MAX;) {
        uint64_t len = run_length(f, at, count);
        if (len >= count) {
            f->run_len = count;
            f->hint_run = at + count;
            *pgno_out = at;
            return true;
        }
        at = next_free(f, at + len);
    }
    f->fail_len = count;
    return false;
}

bool bolt__free_take(struct bolt_free *f, uint64_t count, uint64_t *pgno_out)
{
    ASSERT(count > 0);
    uint64_t pgno;
    if (f->free_count < count) {
        return false;
    }
    if (count == 1) {
        pgno = next_free(f, f->hint_one);
        ASSERT(pgno != UINT64_MAX);
        f->hint_one = pgno + 1;
    } else if (!find_run(f, count, &pgno)) {
        return false;
    }
    for (uint64_t i = 0; i < count; i++) {
        unmark_free(f, pgno + i);
    }
    runs_push(&f->taken, (struct bolt_run){.pgno = pgno, .count = count});
    *pgno_out = pgno;
    return true;
}

void bolt__free_commit(struct bolt_free *f)
{
    f->taken.count = 0;
}

void bolt__free_rollback(struct bolt_free *f, uint64_t txid)
{
    for (size_t i = 0; i < f->taken.count; i++) {
        const struct bolt_run *run = &f->taken.runs[i];
        for (uint64_t j = 0; j < run->count; j++) {
            mark_free(f, run->pgno + j);
        }
    }
    f->taken.count = 0;
    struct bolt_runs *queue = &f->queue;
    while (queue->count > queue->head && queue->runs[queue->count - 1].txid == txid) {
        const struct bolt_run *run = &queue->runs[--queue->count];
        for (uint64_t i = 0; i < run->count; i++) {
            bit_clear(f->pending, run->pgno + i);
        }
        f->pending_count -= run->count;
    }
    reset_hints(f);
}

bool bolt__free_has(const struct bolt_free *f, uint64_t pgno)
{
    return pgno / WORD_BITS < f->word_count &&
           (bit_get(f->free, pgno) || bit_get(f->pending, pgno));
}

uint64_t bolt__free_count(const struct bolt_free *f)
{
    return f->free_count + f->pending_count;
}

void bolt__free_write(const struct bolt_free *f, uint8_t *out)
{
    for (uint64_t word = 0; word < f->word_count; word++) {
        for (uint64_t bits = f->free[word] | f->pending[word]; bits != 0; bits &= bits - 1) {
            put_le64(out, word * WORD_BITS + (uint64_t)__builtin_ctzll(bits));
            out += 8;
        }
    }
}

void bolt__free_check(const struct bolt_free *f)
{
    uint64_t free_count = 0;
    uint64_t pending_count = 0;
    for (uint64_t block = 0; block < f->word_count / BLOCK_WORDS; block++) {
        uint64_t in_block = 0;
        for (uint64_t i = 0; i < BLOCK_WORDS; i++) {
            uint64_t word = block * BLOCK_WORDS + i;
            ASSERT((f->free[word] & f->pending[word]) == 0);
            in_block += (uint64_t)__builtin_popcountll(f->free[word]);
            pending_count += (uint64_t)__builtin_popcountll(f->pending[word]);
        }
        ASSERT(in_block == f->in_block[block]);
        free_count += in_block;
    }
    ASSERT(free_count == f->free_count);
    ASSERT(pending_count == f->pending_count);
    uint64_t queued = 0;
    for (size_t i = f->queue.head; i < f->queue.count; i++) {
        ASSERT(i == f->queue.head || f->queue.runs[i - 1].txid <= f->queue.runs[i].txid);
        queued += f->queue.runs[i].count;
    }
    ASSERT(queued == pending_count);
}
