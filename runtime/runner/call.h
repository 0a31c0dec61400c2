/* Bytes of stack between the caller of call_model and the model's first instruction. */
#if defined(__arm__)
#define CALL_FRAME 8
#else
#define CALL_FRAME 16
#endif
