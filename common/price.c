/*
 * price.c - what a call costs (pure).
 *
 * Happy path: counts times prices summed in 128 bits, divided once, rounded half up. Failure: -1
 * whenever the sum would have to guess; amounts as text are taken exactly or refused.
 *
 * Why 128 bits suffice: cached + plain input is at most 2^63 tokens at less than 2^63, the same for
 * output: twice 2^126, and the request's price.
 */
#include "common/price.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

__extension__ typedef __int128 i128;

/* Adds count * price; false when either is needed and not known. */
static bool add_part(i128 *sum, int64_t count, int64_t price)
{
    if (count == 0 || price == 0)
        return true;
    if (count < 0 || price < 0)
        return false;
    *sum += (i128)count * (i128)price;
    return true;
}

/* One direction: `all` tokens, of which `part` have their own price (-1: the same one). */
static bool add_direction(i128 *sum, int64_t all, int64_t price, int64_t part, int64_t part_price)
{
    if (part > 0 && all >= 0 && part > all)
        return false;
    if (part_price < 0 || part_price == price || all == 0)
        return add_part(sum, all, price);
    if (all < 0 || part < 0)
        return false;
    return add_part(sum, all - part, price) && add_part(sum, part, part_price);
}

int64_t price_cost_nusd(const struct price *p, const struct usage *u)
{
    i128 sum = 0;
    if (!add_direction(&sum, u->input, p->input_pusd, u->cached, p->cached_pusd) ||
        !add_direction(&sum, u->output, p->output_pusd, u->reasoning, p->reasoning_pusd) ||
        p->request_pusd < 0)
        return -1;
    sum += (i128)p->request_pusd;
    i128 nusd = (sum + 500) / 1000;
    return nusd > INT64_MAX ? -1 : (int64_t)nusd;
}

/* ---- amounts as text ---------------------------------------------------------------------- */

/* value = digits (as a number, last digit not 0) * 10^exponent */
struct decimal {
    i128 digits;
    int64_t exponent;
    bool too_long; /* more digits than can be kept: no price is that exact */
};

static void add_digit(struct decimal *d, int *held_zeros, int digit)
{
    if (digit == 0) { /* counts only if another digit follows */
        *held_zeros += d->digits != 0;
        return;
    }
    for (int i = 0; i <= *held_zeros; i++) {
        if (d->digits > ((i128)1 << 123) / 10) {
            d->too_long = true;
            return;
        }
        d->digits *= 10;
    }
    d->digits += digit;
    *held_zeros = 0;
}

/* "e-05" at *p, if there is one. Far exponents stop counting: their sign is what matters then. */
static bool take_exponent(const char **p, int64_t *ret_exponent)
{
    *ret_exponent = 0;
    if (**p != 'e' && **p != 'E')
        return true;
    (*p)++;
    bool negative = **p == '-';
    if (**p == '-' || **p == '+')
        (*p)++;
    if (**p < '0' || **p > '9')
        return false;
    int64_t v = 0;
    for (; **p >= '0' && **p <= '9'; (*p)++)
        v = v < 1000000 ? v * 10 + (**p - '0') : v;
    *ret_exponent = negative ? -v : v;
    return true;
}

/* digits [. digits] [e [+-] digits], with a digit before the exponent. */
static bool parse_decimal(const char *p, struct decimal *ret_decimal)
{
    struct decimal d = {0};
    bool any = false, fraction = false;
    int held_zeros = 0;
    int64_t places = 0, exponent;
    for (;; p++) {
        if (*p == '.' && !fraction) {
            fraction = true;
            continue;
        }
        if (*p < '0' || *p > '9')
            break;
        any = true;
        places += fraction;
        add_digit(&d, &held_zeros, *p - '0');
    }
    if (!any || !take_exponent(&p, &exponent) || *p != '\0')
        return false;
    d.exponent = exponent - places + held_zeros;
    *ret_decimal = d;
    return true;
}

enum { TEXT_MAX_BYTES = 256, PICO_DIGITS = 12 };

enum rc price_parse_pusd(const char *text, int64_t scale_per, int64_t *ret_pusd, struct err *err)
{
    assert(scale_per >= 1 && scale_per <= 1000000000);
    struct decimal d;
    if (*text == '-')
        return err_set(err, RC_REJECT, "'%.40s' is negative", text);
    if (strnlen(text, TEXT_MAX_BYTES + 1) > TEXT_MAX_BYTES || !parse_decimal(text, &d))
        return err_set(err, RC_REJECT, "'%.40s' is not an amount in USD such as 2.50 or 1.35e-05",
                       text);
    if (d.digits == 0) {
        *ret_pusd = 0;
        return RC_OK;
    }
    int64_t zeros = d.exponent + PICO_DIGITS;
    if (zeros < 0)
        goto too_fine;
    if (d.too_long)
        goto too_large;
    i128 most = (i128)INT64_MAX * (i128)scale_per, v = d.digits;
    for (; zeros > 0 && v <= most; zeros--)
        v *= 10;
    if (v > most)
        goto too_large;
    if (v % (i128)scale_per != 0)
        goto too_fine;
    *ret_pusd = (int64_t)(v / (i128)scale_per);
    return RC_OK;
too_fine:
    return err_set(err, RC_REJECT, "'%.40s' is finer than a pico-USD (1e-12) for one unit", text);
too_large:
    return err_set(err, RC_REJECT, "'%.40s' is too large for a price", text);
}

const char *price_usd_text(int64_t nusd, char *out, int out_bytes)
{
    if (nusd < 0) {
        snprintf(out, (size_t)out_bytes, "unknown");
        return out;
    }
    int n = snprintf(out, (size_t)out_bytes, "%" PRId64 ".%09d", nusd / 1000000000,
                     (int)(nusd % 1000000000));
    for (int least = n - 7; n > least && n <= out_bytes && out[n - 1] == '0'; n--)
        out[n - 1] = '\0';
    return out;
}

int64_t price_estimate_tokens(int64_t bytes)
{
    return bytes <= 0 ? 0 : bytes / 4 + (bytes % 4 != 0);
}
