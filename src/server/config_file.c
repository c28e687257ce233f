/* The configuration file: YAML, each row of the table under its key. Unknown keys are ignored, as
 * encoding/json does. */
#include "server/config_priv.h"

#include <stdlib.h>

static bool is_folded(struct slice text, const char *key)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = (char)text.data[i];
        if (key[i] == 0 || (c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c) != key[i]) {
            return false;
        }
    }
    return key[text.len] == 0;
}

/* The key as it is, else in any case: encoding/json takes "Name" for name. */
static const struct yaml_node *find_key(const struct yaml_node *map, const char *key)
{
    const struct yaml_node *exact = yaml_find(map, key);
    if (exact != NULL || map->kind != YAML_KIND_MAP) {
        return exact;
    }
    for (size_t i = map->count; i > 0; i--) {
        if (is_folded(map->pairs[i - 1].key->text, key)) {
            return map->pairs[i - 1].value;
        }
    }
    return NULL;
}

/* Follows "a.b.c" from the top. */
static const struct yaml_node *find_path(const struct yaml_node *node, const char *path)
{
    char key[64];
    struct slice rest = slice_str(path);
    while (rest.len > 0 && node != NULL) {
        struct slice part;
        rest = slice_split(rest, '.', &part);
        ASSERT(part.len < sizeof(key));
        memcpy(key, part.data, part.len);
        key[part.len] = 0;
        node = find_key(node, key);
    }
    return node;
}

static const char *key_of(const struct config_row *row)
{
    return row->key == NULL ? row->name : row->key;
}

/* Where maps belong, nothing else may stand. */
static enum err check_maps(const struct yaml_node *root, struct errbuf *why)
{
    static const struct {
        const char *key;
        const char *type;
    } maps[] = {
        {"client-transport-security", "embed.securityConfig"},
        {"peer-transport-security", "embed.securityConfig"},
        {"socket-options", "transport.SocketOpts"},
        {"discovery-config", "v3discovery.DiscoveryConfig"},
    };
    for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
        const struct yaml_node *node = find_key(root, maps[i].key);
        if (node != NULL && node->kind != YAML_KIND_MAP && node->kind != YAML_KIND_NULL) {
            return errf(why, ERR_INVALID,
                        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal %s "
                        "into Go struct field configYAML.%s of type %s",
                        config__kind_name(node), maps[i].key, maps[i].type);
        }
    }
    return ERR_OK;
}

static enum err set_row(struct config *config, const struct config_row *row,
                        const struct yaml_node *root, struct errbuf *why)
{
    struct config_priv *priv = config->priv;
    const char *key = key_of(row);
    const struct yaml_node *node = key[0] == 0 ? NULL : find_path(root, key);
    /* This flag has a second spelling in files. */
    if (node == NULL && strcmp(row->name, "experimental-snapshot-catchup-entries") == 0) {
        node = yaml_find(root, row->name);
    }
    if (node == NULL) {
        return ERR_OK;
    }
    TRY(config__set_node(config, row, node, why));
    if (row->kind == CONFIG_KIND_GATES && node->kind != YAML_KIND_NULL) {
        priv->gates_given = (const char *)node->text.data;
    }
    priv->given[config__row_index(row)] = true;
    return ERR_OK;
}

static bool has_discovery(const struct config *config)
{
    return config->discovery[0] != 0 || config->discovery_srv[0] != 0 ||
           config->discovery_endpoints.count > 0;
}

static enum err load(struct config *config, const struct buf *text, struct errbuf *why)
{
    const struct yaml_node *root;
    if (yaml_parse(&config->priv->arena, buf_slice(text), &root, why) != ERR_OK) {
        return err_wrap(why, ERR_INVALID, "error converting YAML to JSON");
    }
    if (root->kind != YAML_KIND_MAP && root->kind != YAML_KIND_NULL) {
        return errf(why, ERR_INVALID,
                    "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal %s into "
                    "Go value of type embed.configYAML",
                    config__kind_name(root));
    }
    TRY(check_maps(root, why));
    for (size_t i = 0; i < config__row_count; i++) {
        TRY(set_row(config, &config__rows[i], root, why));
    }
    if (has_discovery(config) && strcmp(config->initial_cluster, CONFIG_DEFAULT_CLUSTER) == 0) {
        config->initial_cluster = "";
    }
    if (config->initial_cluster_state[0] == 0) {
        config->initial_cluster_state = "new";
    }
    if (config->self_signed_cert_validity == 0) {
        config->self_signed_cert_validity = 1;
    }
    return ERR_OK;
}

FALLIBLE config__from_file(struct config *config, const char *path, struct errbuf *why)
{
    struct buf text = {0};
    enum err err = disk_read_file(config->priv->in->disk, path, YAML_LEN_MAX, &text, why);
    if (err == ERR_OK) {
        err = load(config, &text, why);
    } else {
        err = logging_open_error(err, path, why);
    }
    buf_fini(&text);
    if (err == ERR_CANCELED) {
        struct buf line = {0};
        buf_printf(&line, "%s\n", why == NULL ? "" : why->text);
        config__print_err(config, buf_slice(&line));
        buf_fini(&line);
    }
    return err;
}
