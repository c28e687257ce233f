#include "base/metrics.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Go's %g writes numbers of more digits than this before the point with an exponent. */
#define EXPONENT_FROM 6

struct series {
    char *labels;
    struct metric metric;       /* counters and gauges */
    struct histogram histogram; /* histograms */
};

struct family {
    char *name;
    char *help;
    enum metric_kind kind;
    struct series **series; /* sorted by labels */
    size_t count;
};

struct collector {
    metrics_collect_fn *fn;
    void *ctx;
};

struct metrics {
    struct family **families; /* sorted by name */
    size_t count;
    struct collector *collectors;
    size_t collector_count;
};

struct metrics *metrics_new(void)
{
    return NEW(struct metrics);
}

static void family_free(struct family *family)
{
    for (size_t i = 0; i < family->count; i++) {
        mem_free(family->series[i]->labels);
        mem_free(family->series[i]->histogram.counts);
        mem_free(family->series[i]);
    }
    mem_free(family->series);
    mem_free(family->name);
    mem_free(family->help);
    mem_free(family);
}

void metrics_free(struct metrics **metrics)
{
    struct metrics *m = *metrics;
    if (m == NULL) {
        return;
    }
    for (size_t i = 0; i < m->count; i++) {
        family_free(m->families[i]);
    }
    mem_free(m->families);
    mem_free(m->collectors);
    mem_free(m);
    *metrics = NULL;
}

/* Inserts `item` at `at` in a sorted array of pointers. */
static void *array_insert(void *array, size_t count, size_t at, void *item)
{
    void **items = mem_realloc(array, (count + 1) * sizeof(void *));
    memmove(items + at + 1, items + at, (count - at) * sizeof(void *));
    items[at] = item;
    return items;
}

static struct family *family_get(struct metrics *m, enum metric_kind kind, const char *name,
                                 const char *help)
{
    size_t at = 0;
    while (at < m->count && strcmp(m->families[at]->name, name) < 0) {
        at++;
    }
    if (at < m->count && strcmp(m->families[at]->name, name) == 0) {
        ASSERT(m->families[at]->kind == kind);
        return m->families[at];
    }
    struct family *family = NEW(struct family);
    family->name = mem_strdup(name);
    family->help = mem_strdup(help);
    family->kind = kind;
    m->families = array_insert(m->families, m->count, at, family);
    m->count++;
    return family;
}

static struct series *series_add(struct metrics *m, enum metric_kind kind, const char *name,
                                 const char *help, const char *labels)
{
    struct family *family = family_get(m, kind, name, help);
    size_t at = 0;
    while (at < family->count && strcmp(family->series[at]->labels, labels) < 0) {
        at++;
    }
    ASSERT(at == family->count || strcmp(family->series[at]->labels, labels) != 0);
    struct series *series = NEW(struct series);
    series->labels = mem_strdup(labels);
    family->series = array_insert(family->series, family->count, at, series);
    family->count++;
    return series;
}

struct metric *metrics_counter(struct metrics *metrics, const char *name, const char *help,
                               const char *labels)
{
    return &series_add(metrics, METRIC_COUNTER, name, help, labels)->metric;
}

struct metric *metrics_gauge(struct metrics *metrics, const char *name, const char *help,
                             const char *labels)
{
    return &series_add(metrics, METRIC_GAUGE, name, help, labels)->metric;
}

struct histogram *metrics_histogram(struct metrics *metrics, const char *name, const char *help,
                                    const char *labels, const double *bounds, size_t bound_count)
{
    struct histogram *h = &series_add(metrics, METRIC_HISTOGRAM, name, help, labels)->histogram;
    h->bounds = bounds;
    h->bound_count = bound_count;
    h->counts = mem_array(bound_count + 1, sizeof(h->counts[0]));
    return h;
}

void metrics_on_collect(struct metrics *metrics, metrics_collect_fn *fn, void *ctx)
{
    size_t count = metrics->collector_count++;
    metrics->collectors = mem_realloc(metrics->collectors, (count + 1) * sizeof(struct collector));
    metrics->collectors[count] = (struct collector){.fn = fn, .ctx = ctx};
}

void histogram_observe(struct histogram *histogram, double value)
{
    size_t at = 0;
    while (at < histogram->bound_count && value > histogram->bounds[at]) {
        at++;
    }
    histogram->counts[at]++;
    histogram->sum += value;
    histogram->count++;
}

void metrics_escape(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '\n') {
            buf_append_str(out, "\\n");
            continue;
        }
        if (c == '\\' || c == '"') {
            buf_append_byte(out, '\\');
        }
        buf_append_byte(out, c);
    }
}

/* What nearly all counters and gauges hold. Of a whole number below 2^53 every digit but the zeros
 * at its end is needed: a shorter number is at least one away, and so another double. */
static bool format_whole(double value, struct buf *out)
{
    if (!(value >= 0 && value < 9007199254740992.0) || signbit(value) != 0 ||
        value != (double)(uint64_t)value) {
        return false;
    }
    char text[20];
    char *end = text + sizeof(text);
    char *digits = end;
    uint64_t left = (uint64_t)value;
    do {
        *--digits = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    size_t count = (size_t)(end - digits);
    if (count <= EXPONENT_FROM) {
        buf_append(out, digits, count);
        return true;
    }
    while (end[-1] == '0') {
        end--;
    }
    buf_append_byte(out, (uint8_t)digits[0]);
    if (end - digits > 1) {
        buf_append_byte(out, '.');
        buf_append(out, digits + 1, (size_t)(end - digits) - 1);
    }
    buf_printf(out, "e+%02zu", count - 1);
    return true;
}

void metrics_format_double(double value, struct buf *out)
{
    if (format_whole(value, out)) {
        return;
    }
    if (isnan(value)) {
        buf_append_str(out, "NaN");
        return;
    }
    if (isinf(value)) {
        buf_append_str(out, value > 0 ? "+Inf" : "-Inf");
        return;
    }
    char text[64];
    int digits = 1;
    for (; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*e", digits - 1, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    long exponent = strtol(strchr(text, 'e') + 1, NULL, 10);
    if (exponent < -4 || exponent >= EXPONENT_FROM) {
        buf_append_str(out, text); /* Go prints 1e+06 where C's %g could print 1000000 */
        return;
    }
    int decimals = digits - 1 - (int)exponent;
    buf_printf(out, "%.*f", decimals > 0 ? decimals : 0, value);
}

static void sample_write(struct buf *out, const char *name, const char *suffix, const char *labels,
                         const char *extra, double value)
{
    bool braces = labels[0] != '\0' || extra[0] != '\0';
    buf_append_str(out, name);
    buf_append_str(out, suffix);
    if (braces) {
        buf_append_byte(out, '{');
        buf_append_str(out, labels);
        buf_append_str(out, labels[0] != '\0' && extra[0] != '\0' ? "," : "");
        buf_append_str(out, extra);
        buf_append_byte(out, '}');
    }
    buf_append_byte(out, ' ');
    metrics_format_double(value, out);
    buf_append_byte(out, '\n');
}

static void histogram_write(struct buf *out, const struct family *family,
                            const struct series *series)
{
    const struct histogram *h = &series->histogram;
    uint64_t cumulative = 0;
    for (size_t i = 0; i <= h->bound_count; i++) {
        struct buf bound = {0};
        buf_append_str(&bound, "le=\"");
        metrics_format_double(i < h->bound_count ? h->bounds[i] : INFINITY, &bound);
        buf_append_byte(&bound, '"');
        cumulative += h->counts[i];
        sample_write(out, family->name, "_bucket", series->labels, buf_cstr(&bound),
                     (double)cumulative);
        buf_fini(&bound);
    }
    sample_write(out, family->name, "_sum", series->labels, "", h->sum);
    sample_write(out, family->name, "_count", series->labels, "", (double)h->count);
}

static const char *kind_name(enum metric_kind kind)
{
    switch (kind) {
    case METRIC_COUNTER:
        return "counter";
    case METRIC_GAUGE:
        return "gauge";
    case METRIC_HISTOGRAM:
        return "histogram";
    }
    UNREACHABLE();
}

void metrics_write(struct metrics *metrics, struct buf *out)
{
    for (size_t i = 0; i < metrics->collector_count; i++) {
        metrics->collectors[i].fn(metrics->collectors[i].ctx);
    }
    for (size_t i = 0; i < metrics->count; i++) {
        const struct family *family = metrics->families[i];
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", family->name, family->help, family->name,
                   kind_name(family->kind));
        for (size_t k = 0; k < family->count; k++) {
            const struct series *series = family->series[k];
            if (family->kind == METRIC_HISTOGRAM) {
                histogram_write(out, family, series);
            } else {
                sample_write(out, family->name, "", series->labels, "", series->metric.value);
            }
        }
    }
}
