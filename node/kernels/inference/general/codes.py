"""Numbers in a row of a general step; ``node.model.views`` says what each one means."""

from __future__ import annotations

RANK = 6
"""Dimensions of a view; the compiler merges neighbours and fills up with 1."""

SHAPE, STRIDES_A, STRIDES_B, FUNCTION, KINDS, ALPHA, BETA = 8, 14, 20, 26, 27, 28, 29
"""Columns: six dimensions, six strides of a, six of b (of the output where there is no b), and four scalars."""

U8, I8, I32, I64, F32, BOOL = 0, 1, 2, 3, 4, 5
"""Kinds of elements; KINDS holds that of the input plus 8 times that of the output."""

COPY, MAP_F32, BINARY_F32, COMPARE_F32, BINARY_INT, SELECT = 17, 18, 19, 20, 21, 22
CAST, REDUCE_F32, REDUCE_INT, MATMUL_F32, GATHER, LSTM, GRU = 23, 24, 25, 26, 27, 28, 29

ADD, SUB, MUL, DIV, MAX, MIN, POW, PRELU = 0, 1, 2, 3, 4, 5, 6, 7
EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL, AND, OR, XOR = 8, 9, 10, 11, 12, 13, 14, 15
INT_ABS, INT_NEG, INT_NOT, INT_SIGN = 16, 17, 18, 19

ABS, NEG, RECIPROCAL, SQRT, EXP, LOG, ERF, TANH, SIGMOID = 0, 1, 2, 3, 4, 5, 6, 7, 8
HARD_SIGMOID, HARD_SWISH, LEAKY_RELU, ELU, SELU, SOFTPLUS, GELU, GELU_TANH = 9, 10, 11, 12, 13, 14, 15, 16
FLOOR, CEIL, ROUND, SIGN, SOFTSIGN, RELU, AFFINE = 17, 18, 19, 20, 21, 22, 23

SUM, MEAN, LARGEST, SMALLEST, PRODUCT, ARG_MAX, ARG_MIN, ARG_MAX_LAST, ARG_MIN_LAST = 0, 1, 2, 3, 4, 5, 6, 7, 8
