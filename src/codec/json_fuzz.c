/* Any bytes: parse; what parses must have a consistent tree, and its strings survive a round trip
 * through our escaping. */
#include "codec/json.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct json *json, size_t depth)
{
    ASSERT(depth <= JSON_DEPTH_MAX);
    if (json->kind == JSON_STRING) {
        struct arena arena;
        struct buf text = {0};
        struct json *again = NULL;
        arena_init(&arena);
        json_append_string(&text, json->string);
        if (json_parse(&arena, buf_slice(&text), &again, NULL) == ERR_OK) {
            ASSERT(slice_eq(again->string, json->string));
        } else {
            ASSERT(json->string.len == 0 || memchr(json->string.data, 0, json->string.len));
        }
        buf_fini(&text);
        arena_fini(&arena);
        return;
    }
    if (json->kind == JSON_ARRAY || json->kind == JSON_OBJECT) {
        size_t count = 0;
        for (const struct json *child = json->children.first; child != NULL; child = child->next) {
            walk(child, depth + 1);
            count++;
        }
        ASSERT(count == json->children.count);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct json *json = NULL;
    arena_init(&arena);
    if (json_parse(&arena, slice_of(data, size), &json, NULL) == ERR_OK) {
        walk(json, 0);
    }
    arena_fini(&arena);
    return 0;
}
