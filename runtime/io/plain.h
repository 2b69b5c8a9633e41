/* plain.h: the system calls for what is no socket (pipes, terminals, files), and from files to descriptors. */
#ifndef NP_PLAIN_H
#define NP_PLAIN_H

#include "io/op.h"

/* As np_op_attempt, of an operation that moves bytes. */
int64_t np_plain_attempt(np_op *op);

#endif
