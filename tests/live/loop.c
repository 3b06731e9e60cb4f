/*
 * loop.c - the end of a live test's event loop.
 */
#include "tests/live/loop.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <uv.h>

enum { TURNS_MAX = 5000 }; /* of a millisecond */

static void name_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    print_error("left open: a handle of type %s%s\n", uv_handle_type_name(handle->type),
                uv_is_closing(handle) ? ", closing" : "");
}

int loop_end(struct uv_loop_s *loop)
{
    for (int turns = 0; turns < TURNS_MAX && uv_run(loop, UV_RUN_NOWAIT) != 0; turns++)
        (void)poll(NULL, 0, 1);
    int result = uv_loop_close(loop);
    if (result != 0)
        uv_walk(loop, name_handle, NULL);
    return result;
}
