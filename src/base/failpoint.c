/* A point's state is a few numbers behind one spin lock: it is held for a handful of instructions
 * and never while a point acts, so a thread that sleeps at a point holds nobody up. */
#include "base/failpoint.h"

#include "base/gotext.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TERMS_MAX 8  /* in one chain */
#define TEXT_MAX 256 /* of one chain */
#define NS_PER_S 1000000000
#define NS_PER_MS 1000000

enum action {
    ACTION_OFF,
    ACTION_SLEEP,
    ACTION_PANIC,
};

struct term {
    enum action action;
    bool has_count;
    uint64_t left;  /* with has_count: how often it may act yet */
    double percent; /* 100: always */
    int64_t sleep_ns;
};

struct chain {
    struct term terms[TERMS_MAX];
    size_t count;
    uint64_t acted;
    char text[TEXT_MAX]; /* "": off */
};

static const char *const names[FAILPOINT_COUNT] = {
#define X(name) [FAILPOINT_##name] = #name,
    FAILPOINT_TABLE(X)
#undef X
};

static struct chain chains[FAILPOINT_COUNT];
static atomic_bool armed[FAILPOINT_COUNT];
static atomic_flag lock = ATOMIC_FLAG_INIT;
static uint64_t random_state = 0x9e3779b97f4a7c15u; /* one sequence a process: runs repeat */

static void lock_take(void)
{
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire)) {
    }
}

static void lock_give(void)
{
    atomic_flag_clear_explicit(&lock, memory_order_release);
}

/* ---- parsing ----------------------------------------------------------------------------------
 */

/* Splits at the first `mark`. False, and *text as it was, when there is none. */
static bool split(struct slice *text, const char *mark, struct slice *head)
{
    size_t len = strlen(mark);
    for (size_t i = 0; i + len <= text->len; i++) {
        if (memcmp(text->data + i, mark, len) == 0) {
            *head = slice_of(text->data, i);
            *text = slice_skip(*text, i + len);
            return true;
        }
    }
    return false;
}

static FALLIBLE parse_sleep(struct slice arg, struct term *out)
{
    uint64_t ms;
    if (arg.len >= 2 && arg.data[0] == '"' && arg.data[arg.len - 1] == '"') {
        TRY(go_parse_duration(slice_of(arg.data + 1, arg.len - 2), &out->sleep_ns, NULL));
        return out->sleep_ns >= 0 ? ERR_OK : ERR_INVALID;
    }
    TRY(slice_to_u64(arg, &ms));
    if (ms > INT64_MAX / NS_PER_MS) {
        return ERR_INVALID;
    }
    out->sleep_ns = (int64_t)ms * NS_PER_MS;
    return ERR_OK;
}

static FALLIBLE parse_action(struct slice text, struct term *out)
{
    struct slice name = text;
    struct slice arg = SLICE_EMPTY;
    bool has_arg = false;
    for (size_t i = 0; i < text.len && !has_arg; i++) {
        if (text.data[i] == '(') {
            if (text.data[text.len - 1] != ')') {
                return ERR_INVALID;
            }
            name = slice_of(text.data, i);
            arg = slice_of(text.data + i + 1, text.len - i - 2);
            has_arg = true;
        }
    }
    if (slice_eq_str(name, "off") && !has_arg) {
        out->action = ACTION_OFF;
        return ERR_OK;
    }
    if (slice_eq_str(name, "panic")) {
        out->action = ACTION_PANIC;
        return ERR_OK;
    }
    if (slice_eq_str(name, "sleep") && has_arg) {
        out->action = ACTION_SLEEP;
        return parse_sleep(arg, out);
    }
    return ERR_INVALID;
}

static FALLIBLE parse_term(struct slice text, struct term *out)
{
    struct slice head;
    *out = (struct term){.percent = 100};
    /* Not behind the action's name: an argument may hold any character. */
    struct slice prefix = text;
    struct slice action;
    if (!split(&prefix, "(", &action)) {
        action = text;
    }
    size_t arg_len = text.len - action.len;
    if (split(&action, "%", &head)) {
        TRY(go_parse_float(head, &out->percent, NULL));
        if (!(out->percent >= 0 && out->percent <= 100)) {
            return ERR_INVALID;
        }
    }
    if (split(&action, "*", &head)) {
        TRY(slice_to_u64(head, &out->left));
        out->has_count = true;
    }
    return parse_action(slice_of(action.data, action.len + arg_len), out);
}

/* Splits off the first term; an arrow inside quotes is text. False when it was the last. */
static bool next_term(struct slice *text, struct slice *term)
{
    bool is_quoted = false;
    for (size_t i = 0; i + 1 < text->len; i++) {
        if (text->data[i] == '"') {
            is_quoted = !is_quoted;
        } else if (!is_quoted && text->data[i] == '-' && text->data[i + 1] == '>') {
            *term = slice_of(text->data, i);
            *text = slice_skip(*text, i + 2);
            return true;
        }
    }
    *term = *text;
    return false;
}

static FALLIBLE parse_chain(struct slice text, struct chain *out)
{
    *out = (struct chain){.count = 0};
    if (text.len >= TEXT_MAX) {
        return ERR_TOO_LARGE;
    }
    memcpy(out->text, text.data, text.len);
    bool is_last = false;
    while (!is_last) {
        struct slice term;
        is_last = !next_term(&text, &term);
        if (out->count == TERMS_MAX) {
            return ERR_TOO_LARGE;
        }
        TRY(parse_term(term, &out->terms[out->count++]));
    }
    return ERR_OK;
}

static FALLIBLE find(struct slice name, size_t *out, struct errbuf *why)
{
    for (size_t i = 0; i < FAILPOINT_COUNT; i++) {
        if (slice_eq_str(name, names[i])) {
            *out = i;
            return ERR_OK;
        }
    }
    return errf(why, ERR_NOT_FOUND, "failpoint: failpoint does not exist");
}

/* Blanks and line ends around terms: a body sent by a shell ends with one. */
static struct slice trim(struct slice text)
{
    while (text.len > 0 && text.data[0] <= ' ') {
        text = slice_skip(text, 1);
    }
    while (text.len > 0 && text.data[text.len - 1] <= ' ') {
        text.len--;
    }
    return text;
}

/* ---- passing ----------------------------------------------------------------------------------
 */

static double draw_percent(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(random_state >> 11) / (double)((uint64_t)1 << 53) * 100;
}

/* The first term of the chain that acts now; off when none does. */
static struct term choose(struct chain *chain)
{
    for (size_t i = 0; i < chain->count; i++) {
        struct term *term = &chain->terms[i];
        if (term->has_count && term->left == 0) {
            continue;
        }
        if (term->percent < 100 && draw_percent() >= term->percent) {
            continue;
        }
        term->left -= term->has_count;
        chain->acted++;
        return *term;
    }
    return (struct term){.action = ACTION_OFF};
}

static void sleep_for(int64_t ns)
{
    struct timespec left = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
    while (nanosleep(&left, &left) != 0) { /* a signal came: sleep on */
    }
}

void failpoint_pass(enum failpoint point)
{
    ASSERT(point < FAILPOINT_COUNT);
    if (!atomic_load_explicit(&armed[point], memory_order_acquire)) {
        return;
    }
    lock_take();
    struct term term = choose(&chains[point]);
    lock_give();
    switch (term.action) {
    case ACTION_OFF:
        break;
    case ACTION_SLEEP:
        sleep_for(term.sleep_ns);
        break;
    case ACTION_PANIC:
        fprintf(stderr, "failpoint panic: %s\n", names[point]);
        _Exit(2);
    }
}

/* ---- setting ----------------------------------------------------------------------------------
 */

FALLIBLE failpoint_set(struct slice name, struct slice terms, struct errbuf *why)
{
    size_t at;
    struct chain chain = {.count = 0};
    TRY(find(name, &at, why));
    terms = trim(terms);
    if (terms.len > 0 && parse_chain(terms, &chain) != ERR_OK) {
        return errf(why, ERR_INVALID, "failpoint: could not parse terms");
    }
    lock_take();
    chains[at] = chain;
    lock_give();
    atomic_store_explicit(&armed[at], chain.count > 0, memory_order_release);
    return ERR_OK;
}

FALLIBLE failpoint_set_all(struct slice list, struct errbuf *why)
{
    while (list.len > 0) {
        struct slice one;
        struct slice name;
        list = slice_split(list, ';', &one);
        one = trim(one);
        if (one.len == 0) {
            continue;
        }
        if (!split(&one, "=", &name)) {
            return errf(why, ERR_INVALID, "failpoint: bad failpoint format; want name=terms");
        }
        TRY(failpoint_set(name, one, why));
    }
    return ERR_OK;
}

FALLIBLE failpoint_clear(struct slice name, struct errbuf *why)
{
    size_t at;
    TRY(find(name, &at, why));
    if (!atomic_load(&armed[at])) {
        return errf(why, ERR_INVALID, "failpoint: failpoint is disabled");
    }
    return failpoint_set(name, SLICE_EMPTY, why);
}

/* ---- observers ---------------------------------------------------------------------------------
 */

static void append_terms(size_t at, struct buf *out)
{
    char text[TEXT_MAX];
    lock_take();
    memcpy(text, chains[at].text, sizeof(text));
    lock_give();
    buf_append_str(out, text);
}

FALLIBLE failpoint_terms(struct slice name, struct buf *out)
{
    size_t at = 0; /* for gcc, which sees a way around find() */
    TRY(find(name, &at, NULL));
    append_terms(at, out);
    return ERR_OK;
}

FALLIBLE failpoint_count(struct slice name, uint64_t *out)
{
    size_t at = 0; /* for gcc, which sees a way around find() */
    TRY(find(name, &at, NULL));
    lock_take();
    *out = chains[at].acted;
    lock_give();
    return ERR_OK;
}

void failpoint_list(struct buf *out)
{
    for (size_t i = 0; i < FAILPOINT_COUNT; i++) {
        buf_append_str(out, names[i]);
        buf_append_str(out, "=");
        append_terms(i, out);
        buf_append_str(out, "\n");
    }
}
