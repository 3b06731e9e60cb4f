/*
 * catalogue_impl.h - what the catalogue's files and their tests share; nobody else includes it.
 */
#ifndef INFERQ_COMMON_CATALOGUE_IMPL_H
#define INFERQ_COMMON_CATALOGUE_IMPL_H

#include <stdbool.h>

#include "common/catalogue.h"
#include "common/config.h"
#include "common/yaml_tree.h"

/* The keys of each kind of entry: schemas/catalogue.md says the same, and a test compares. A key
 * with the unit "list" holds a list of entries, one with the unit "map" a single one; amounts are
 * texts, of the unit "USD" those of money. */
struct catalogue_section {
    const char *title; /* "endpoint" */
    const struct config_key *keys;
};
enum catalogue_section_index {
    CATALOGUE_ROOT,
    CATALOGUE_ENDPOINT,
    CATALOGUE_MODEL,
    CATALOGUE_VERSION,
    CATALOGUE_PRICE,
    CATALOGUE_DEFAULT,
    CATALOGUE_ROUTE,
    CATALOGUE_RETRY,
    CATALOGUE_APP,
    CATALOGUE_LIMITS,
    CATALOGUE_SECTION_COUNT,
};
extern const struct catalogue_section catalogue_sections[CATALOGUE_SECTION_COUNT];

/* Fills in `cat`, which was zeroed and which catalogue_free takes also when this fails. */
enum rc catalogue_read(const struct yaml_node *root, const char *file_name, struct catalogue *cat,
                       struct err *err) MUST_CHECK;

/* A map of limits; `map` may be NULL: none. RC_REJECT as the whole file's. */
extern const struct config_key catalogue_limit_keys[];
enum rc catalogue_read_limits(const struct yaml_node *map, const char *file_name,
                              struct cat_limits *limits, struct err *err) MUST_CHECK;

/* What versions name as `larger_context`, by their indexes; text "": nothing. */
struct catalogue_larger {
    const char *text;
    int line;
};
/* Finds the versions that are named, once all are read. RC_REJECT as the whole file's: there is no
 * such version, it is not served, it takes no more, or the way leads back. */
enum rc catalogue_find_larger(struct catalogue *cat, const struct catalogue_larger *larger,
                              const char *file_name, struct err *err) MUST_CHECK;

/* "0.2": a share of 0 to 1 with at most three decimals, in thousandths. */
enum rc catalogue_share_parse(const char *text, int *ret_permille, struct err *err) MUST_CHECK;

/* Replaces every ${NAME} by that variable of the environment. RC_REJECT: unset, or no '}'. The
 * message names the variable and shows no value. returns owned */
enum rc catalogue_expand(const char *text, char **ret_text, struct err *err) MUST_CHECK;

/* "http(s)://host[:port][/prefix]" and no more. Takes trailing slashes off `url`. RC_REJECT: why
 * not; the message does not show the URL. */
enum rc catalogue_check_url(char *url, struct err *err) MUST_CHECK;

/* "env:NAME", "file:PATH" or "". RC_REJECT says the remedy and does not show the text. */
enum rc catalogue_check_credential(const char *text, struct err *err) MUST_CHECK;

/* Frees what an entry holds. */
void catalogue_endpoint_done(struct cat_endpoint *e);
void catalogue_version_done(struct cat_model_version *mv);

/* What is said of an entry that differs from the one of that name that was applied: RC_REJECT. */
enum rc catalogue_endpoint_changed(const struct cat_endpoint *e, struct err *err) MUST_CHECK;
enum rc catalogue_version_changed(const struct cat_model_version *mv, struct err *err) MUST_CHECK;
enum rc catalogue_price_changed(const struct cat_model_version *mv, int price,
                                struct err *err) MUST_CHECK;
enum rc catalogue_model_changed(const char *name, struct err *err) MUST_CHECK;

#endif
