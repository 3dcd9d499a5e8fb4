(* Sums, powers and factorials of natural numbers. *)
Require Import Arith Lia.

Fixpoint sum (n : nat) : nat := match n with 0 => 0 | S m => S m + sum m end.
Fixpoint squares (n : nat) : nat := match n with 0 => 0 | S m => S m * S m + squares m end.
Fixpoint cubes (n : nat) : nat := match n with 0 => 0 | S m => S m * S m * S m + cubes m end.
Fixpoint odds (n : nat) : nat := match n with 0 => 0 | S m => 2 * m + 1 + odds m end.
Fixpoint two (n : nat) : nat := match n with 0 => 1 | S m => 2 * two m end.
Fixpoint twos (n : nat) : nat := match n with 0 => 0 | S m => two m + twos m end.
Fixpoint factorial (n : nat) : nat := match n with 0 => 1 | S m => S m * factorial m end.

(* induction *)
Theorem sum_closed : forall n, 2 * sum n = n * (n + 1).
Proof.
  induction n as [| n IH].
  - reflexivity.
  - simpl sum. lia.
Qed.

(* induction *)
Theorem squares_closed : forall n, 6 * squares n = n * (n + 1) * (2 * n + 1).
Proof.
  induction n as [| n IH].
  - reflexivity.
  - simpl squares. nia.
Qed.

(* induction *)
Theorem cubes_are_sum_squared : forall n, cubes n = sum n * sum n.
Proof.
  assert (closed : forall n, 2 * sum n = n * (n + 1)).
  { induction n as [| n IH].
    - reflexivity.
    - simpl sum. lia. }
  induction n as [| n IH].
  - reflexivity.
  - simpl cubes. simpl sum. rewrite IH. specialize (closed n). nia.
Qed.

(* induction *)
Theorem odds_are_square : forall n, odds n = n * n.
Proof.
  induction n as [| n IH].
  - reflexivity.
  - simpl odds. rewrite IH. lia.
Qed.

(* induction *)
Theorem sum_grows : forall n m, n <= m -> sum n <= sum m.
Proof.
  intros n m h. induction h as [| m h IH].
  - reflexivity.
  - simpl. lia.
Qed.

(* induction *)
Theorem two_positive : forall n, 1 <= two n.
Proof.
  induction n as [| n IH].
  - reflexivity.
  - simpl. lia.
Qed.

(* induction *)
Theorem two_of_a_sum : forall n m, two (n + m) = two n * two m.
Proof.
  intros n m. induction n as [| n IH].
  - simpl. lia.
  - simpl. rewrite IH. lia.
Qed.

(* induction *)
Theorem two_is_greater : forall n, n < two n.
Proof.
  induction n as [| n IH].
  - simpl. lia.
  - simpl. lia.
Qed.

(* induction *)
Theorem twos_closed : forall n, twos n + 1 = two n.
Proof.
  induction n as [| n IH].
  - reflexivity.
  - simpl. lia.
Qed.

(* induction *)
Theorem factorial_positive : forall n, 1 <= factorial n.
Proof.
  induction n as [| n IH].
  - reflexivity.
  - simpl. lia.
Qed.

(* induction *)
Theorem two_below_factorial : forall n, two n <= factorial (S n).
Proof.
  induction n as [| n IH].
  - reflexivity.
  - change (two (S n)) with (2 * two n).
    change (factorial (S (S n))) with (S (S n) * factorial (S n)). nia.
Qed.

(* induction *)
Theorem even_or_odd : forall n, exists k, n = 2 * k \/ n = 2 * k + 1.
Proof.
  induction n as [| n [k [IH | IH]]].
  - exists 0. left. reflexivity.
  - exists k. right. lia.
  - exists (k + 1). left. lia.
Qed.

Theorem square_of_a_sum : forall a b, (a + b) * (a + b) = a * a + 2 * a * b + b * b.
Proof.
  intros a b. ring.
Qed.

Theorem consecutive_product_is_even : forall n, exists k, n * (n + 1) = 2 * k.
Proof.
  intros n. destruct (Nat.Even_or_Odd n) as [[k e] | [k o]].
  - exists (k * (n + 1)). subst n. lia.
  - exists (n * (k + 1)). subst n. lia.
Qed.

Theorem twice_product_below_squares : forall a b, 2 * a * b <= a * a + b * b.
Proof.
  intros a b. destruct (Nat.le_ge_cases a b) as [h | h].
  - nia.
  - nia.
Qed.
