#include "base/mem.h"
#include "env/sim_priv.h"

struct sim_page {
    uint32_t refs;
    uint8_t data[SIM_PAGE];
};

static void page_unref(struct sim_page *page)
{
    if (page != NULL && --page->refs == 0) {
        mem_free(page);
    }
}

void sim_image_fini(struct sim_image *image)
{
    for (size_t i = 0; i < image->page_count; i++) {
        page_unref(image->pages[i]);
    }
    mem_free(image->pages);
    *image = (struct sim_image){0};
}

void sim_image_copy(struct sim_image *target, const struct sim_image *source)
{
    struct sim_image copy = {.page_count = source->page_count, .size = source->size};
    if (source->page_count > 0) {
        copy.pages = mem_array(source->page_count, sizeof(struct sim_page *));
    }
    for (size_t i = 0; i < source->page_count; i++) {
        copy.pages[i] = source->pages[i];
        if (copy.pages[i] != NULL) {
            copy.pages[i]->refs++;
        }
    }
    sim_image_fini(target);
    *target = copy;
}

/* Calls for each page of [offset, offset + len): its slot, where in it, how much. */
#define FOR_EACH_PART(offset, len, at, slot, start, part)                                          \
    for (uint64_t at = 0, slot = (offset) / SIM_PAGE, start = (offset) % SIM_PAGE,                 \
                  part = SIM_PAGE - start < (len) ? SIM_PAGE - start : (len);                      \
         at < (len);                                                                               \
         at += part, slot++, start = 0, part = SIM_PAGE < (len)-at ? SIM_PAGE : (len)-at)

void sim_image_read(const struct sim_image *image, void *out, size_t len, uint64_t offset)
{
    ASSERT(offset + len <= image->size);
    FOR_EACH_PART(offset, (uint64_t)len, at, slot, start, part)
    {
        const struct sim_page *page = slot < image->page_count ? image->pages[slot] : NULL;
        if (page == NULL) {
            memset((uint8_t *)out + at, 0, part);
        } else {
            memcpy((uint8_t *)out + at, page->data + start, part);
        }
    }
}

static void reserve(struct sim_image *image, uint64_t size)
{
    size_t need = (size_t)((size + SIM_PAGE - 1) / SIM_PAGE);
    if (need <= image->page_count) {
        return;
    }
    size_t count = need > image->page_count * 2 ? need : image->page_count * 2;
    image->pages = mem_realloc(image->pages, count * sizeof(struct sim_page *));
    memset(image->pages + image->page_count, 0,
           (count - image->page_count) * sizeof(struct sim_page *));
    image->page_count = count;
}

/* The page, ours alone. */
static struct sim_page *writable(struct sim_image *image, uint64_t slot)
{
    struct sim_page *page = image->pages[slot];
    if (page == NULL) {
        page = NEW(struct sim_page);
        page->refs = 1;
    } else if (page->refs > 1) {
        page->refs--;
        page = mem_dup(page, sizeof(*page));
        page->refs = 1;
    }
    image->pages[slot] = page;
    return page;
}

void sim_image_write(struct sim_image *image, const void *data, size_t len, uint64_t offset)
{
    reserve(image, offset + len);
    FOR_EACH_PART(offset, (uint64_t)len, at, slot, start, part)
    {
        memcpy(writable(image, slot)->data + start, (const uint8_t *)data + at, part);
    }
    if (len > 0 && offset + len > image->size) {
        image->size = offset + len;
    }
}

void sim_image_resize(struct sim_image *image, uint64_t size)
{
    uint64_t first_gone = (size + SIM_PAGE - 1) / SIM_PAGE;
    for (uint64_t i = first_gone; size < image->size && i < image->page_count; i++) {
        page_unref(image->pages[i]);
        image->pages[i] = NULL;
    }
    if (size < image->size && size % SIM_PAGE != 0 && image->pages != NULL &&
        size / SIM_PAGE < image->page_count && image->pages[size / SIM_PAGE] != NULL) {
        memset(writable(image, size / SIM_PAGE)->data + size % SIM_PAGE, 0,
               SIM_PAGE - size % SIM_PAGE);
    }
    image->size = size;
}

static bool is_zero(const struct sim_page *page)
{
    for (size_t i = 0; i < SIM_PAGE; i++) {
        if (page->data[i] != 0) {
            return false;
        }
    }
    return true;
}

bool sim_image_eq(const struct sim_image *a, const struct sim_image *b)
{
    if (a->size != b->size) {
        return false;
    }
    uint64_t count = (a->size + SIM_PAGE - 1) / SIM_PAGE;
    for (uint64_t i = 0; i < count; i++) {
        const struct sim_page *left = i < a->page_count ? a->pages[i] : NULL;
        const struct sim_page *right = i < b->page_count ? b->pages[i] : NULL;
        if (left == right) {
            continue;
        }
        if (left == NULL || right == NULL) {
            if (!is_zero(left == NULL ? right : left)) {
                return false;
            }
        } else if (memcmp(left->data, right->data, SIM_PAGE) != 0) {
            return false;
        }
    }
    return true;
}
