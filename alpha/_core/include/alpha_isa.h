/* Names of what is compiled once per ISA: ALPHA_OF_ISA(alpha_kernels) is alpha_kernels_v3 in the build with
 * -DALPHA_ISA=v3, and ALPHA_ISA_NAME "v3". Floor 0. */
#ifndef ALPHA_ISA_H
#define ALPHA_ISA_H

#ifndef ALPHA_ISA
#define ALPHA_ISA portable
#endif

#define ALPHA_ISA_JOIN2(name, isa) name##_##isa
#define ALPHA_ISA_JOIN(name, isa) ALPHA_ISA_JOIN2(name, isa)
#define ALPHA_ISA_TEXT2(isa) #isa
#define ALPHA_ISA_TEXT(isa) ALPHA_ISA_TEXT2(isa)
#define ALPHA_OF_ISA(name) ALPHA_ISA_JOIN(name, ALPHA_ISA)
#define ALPHA_ISA_NAME ALPHA_ISA_TEXT(ALPHA_ISA)

#endif
