/* URL lists and initial clusters of any bytes.
 *
 * Property: what was read prints to a text that reads back as the same text, lists come sorted, and
 * a failure has a sentence. */
#include "base/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_list(struct arena *arena, struct slice text)
{
    struct url_list list;
    struct errbuf why = {{0}};
    if (url_list_parse(arena, text, &list, &why) != ERR_OK) {
        ASSERT(why.text[0] != 0);
        return;
    }
    for (size_t i = 0; i < list.count; i++) {
        struct url again;
        const char *shown = list.items[i].text;
        enum err err = url_parse(arena, slice_str(shown), &again, &why);
        if (strlen(shown) <= URL_LEN_MAX) {
            ASSERT(err == ERR_OK);
            ASSERT(strcmp(again.text, shown) == 0);
            ASSERT(strcmp(again.host, list.items[i].host) == 0);
            ASSERT(strcmp(again.path, list.items[i].path) == 0);
        }
        ASSERT(i == 0 || strcmp(list.items[i - 1].text, shown) <= 0);
    }
}

static void check_map(struct arena *arena, struct slice text)
{
    struct url_map map;
    struct errbuf why = {{0}};
    if (url_map_parse(arena, text, &map, &why) != ERR_OK) {
        ASSERT(why.text[0] != 0);
        return;
    }
    for (size_t i = 0; i < map.count; i++) {
        ASSERT(url_map_find(&map, map.items[i].name) == &map.items[i]);
        ASSERT(map.items[i].urls.count > 0);
    }
    ASSERT(url_map_text(arena, &map) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct slice text = slice_of(data, size);
    struct slice host;
    struct slice port;
    struct errbuf why;
    arena_init(&arena);
    check_list(&arena, text);
    check_map(&arena, text);
    if (host_port_split(text, &host, &port, &why) == ERR_OK) {
        ASSERT(host.len + port.len < text.len);
    }
    ip_parse(text, NULL);
    arena_fini(&arena);
    return 0;
}
