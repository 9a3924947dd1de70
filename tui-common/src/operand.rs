//! Where a probe finds its values: a calling convention and the structures behind it, as data.

/// Registers that an [`Operand`] can name: the numbers of x86-64's instruction set (rax 0, rcx 1, rdx 2, rbx 3, rsp 4,
/// rbp 5, rsi 6, rdi 7, r8 to r15).
pub const REGISTERS: usize = 16;
/// Pointers that an [`Operand`] can follow.
pub const FOLLOWS: usize = 2;

/// One value: `register`, then for each of `follows` pointers the 8 bytes at `value + at`, and `add` at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Operand {
    /// 0: there is no such value; 2: it is `add` itself, whatever the registers hold.
    pub is_there: u8,
    /// Number of the register.
    pub register: u8,
    /// How many pointers are followed, up to [`FOLLOWS`].
    pub follows: u8,
    /// 1: only the lower 32 bits of what was found count.
    pub is_half: u8,
    /// Bytes from each pointer to the next one.
    pub at: [i32; FOLLOWS],
    /// Added at the end.
    pub add: i32,
}

const _: () = assert!(size_of::<Operand>() == 16);

impl Operand {
    /// No such value.
    pub const NONE: Self =
        Self { is_there: 0, register: 0, follows: 0, is_half: 0, at: [0; FOLLOWS], add: 0 };

    /// [`Operand::is_there`] of a number that is the same every time.
    pub const CONSTANT: u8 = 2;

    /// A number that is the same every time: a length, mostly.
    pub const fn constant(number: i32) -> Self {
        Self { is_there: Self::CONSTANT, add: number, ..Self::NONE }
    }

    /// What a register holds.
    pub const fn register(register: u8) -> Self {
        Self { is_there: 1, register, ..Self::NONE }
    }

    /// The 8 bytes at `register + at`.
    pub const fn memory(register: u8, at: i32) -> Self {
        Self { follows: 1, at: [at, 0], ..Self::register(register) }
    }

    /// The 8 bytes at `at` behind what this one says.
    #[must_use]
    pub const fn follow(mut self, at: i32) -> Self {
        if (self.follows as usize) < FOLLOWS {
            self.at[self.follows as usize] = at;
            self.follows += 1;
        }
        self
    }

    /// So many bytes further.
    #[must_use]
    pub const fn plus(self, add: i32) -> Self {
        Self { add, ..self }
    }

    /// Only its lower 32 bits.
    #[must_use]
    pub const fn half(self) -> Self {
        Self { is_half: 1, ..self }
    }
}

/// An element of the map `RECORDS`: where one probe finds a secret and what belongs to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct RecordConfig {
    /// Address of the label.
    pub label: Operand,
    /// Its length; where there is none, a NUL ends it.
    pub label_length: Operand,
    /// A number that stands for the label, where the library passes one.
    pub label_number: Operand,
    /// Address of the client random.
    pub client_random: Operand,
    /// Address of the secret.
    pub secret: Operand,
    /// Its length.
    pub secret_length: Operand,
    /// The connection, or what else stays the same as long as it lives.
    pub connection: Operand,
}

const _: () = assert!(size_of::<RecordConfig>() == 7 * size_of::<Operand>());

/// An element of the map `TOKENS`: where one softoken has its objects, as displacements from the probed instruction.
///
/// NSS keeps its keys in a PKCS #11 module, softoken, and the code that knows the label has no more than a handle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct TokenConfig {
    /// To the first byte of the image.
    pub start: i64,
    /// To the byte after its last one.
    pub end: i64,
    /// Bytes from an object to its handle.
    pub handle: u32,
    /// Bytes from an object to its first attribute.
    pub attributes: u32,
}

const _: () = assert!(size_of::<TokenConfig>() == 24);
