/* ares_none.c: in the place of ares.c where c-ares was not there. */
#include "sys/query.h"

const np_engine np_engine_ares = {.name = NULL};
