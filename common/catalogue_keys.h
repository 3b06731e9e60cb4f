/*
 * catalogue_keys.h - the places of the keys in the tables of catalogue_keys.c; catalogue_read.c
 * finds fields by them. Nobody else includes it.
 */
#ifndef INFERQ_COMMON_CATALOGUE_KEYS_H
#define INFERQ_COMMON_CATALOGUE_KEYS_H

enum root_field { ROOT_NAME, ROOT_ENDPOINTS, ROOT_MODELS, ROOT_DEFAULTS, ROOT_ROUTES, ROOT_APPS };

enum endpoint_field {
    EP_NAME,
    EP_VERSION,
    EP_URL,
    EP_ADAPTER,
    EP_CREDENTIAL,
    EP_CA_FILE,
    EP_IN_FLIGHT,
    EP_TIMEOUT,
    EP_CONNECT_TIMEOUT,
    EP_SEND_IDS,
    EP_IDEMPOTENCY,
    EP_LIMITS,
};

enum model_field { MODEL_NAME, MODEL_CURRENT, MODEL_PROVIDER, MODEL_OWNER, MODEL_VERSIONS };

enum version_field {
    MV_VERSION,
    MV_UPSTREAM,
    MV_ENDPOINT,
    MV_STATE,
    MV_CONTEXT,
    MV_MAX_OUTPUT,
    MV_PRICES,
    MV_LIMITS,
    MV_LARGER,
};

enum price_field {
    PRICE_FROM,
    PRICE_INPUT,
    PRICE_CACHED,
    PRICE_OUTPUT,
    PRICE_REASONING,
    PRICE_REQUEST
};

enum default_field { DEFAULT_APP, DEFAULT_TASK, DEFAULT_MODEL };

enum route_field { ROUTE_APP, ROUTE_TASK, ROUTE_MODEL, ROUTE_DEFAULT, ROUTE_RETRY };

enum retry_field {
    RETRY_ATTEMPTS,
    RETRY_AMBIGUOUS,
    RETRY_BASE,
    RETRY_CAP,
    RETRY_BUDGET,
    RETRY_USD
};

enum app_field { APP_NAME, APP_LIMITS };

#endif
