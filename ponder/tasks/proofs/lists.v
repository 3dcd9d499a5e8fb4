(* Lists: ends, reversal, parts and sums. *)
Require Import Arith Lia List.
Import ListNotations.

Fixpoint snoc {A : Type} (l : list A) (x : A) : list A :=
  match l with [] => [x] | y :: t => y :: snoc t x end.
Fixpoint reverse {A : Type} (l : list A) : list A :=
  match l with [] => [] | x :: t => snoc (reverse t) x end.
Fixpoint onto {A : Type} (l a : list A) : list A :=
  match l with [] => a | x :: t => onto t (x :: a) end.
Fixpoint total (l : list nat) : nat := match l with [] => 0 | x :: t => x + total t end.
Fixpoint take {A : Type} (n : nat) (l : list A) : list A :=
  match n, l with S m, x :: t => x :: take m t | _, _ => [] end.
Fixpoint drop {A : Type} (n : nat) (l : list A) : list A :=
  match n, l with S m, _ :: t => drop m t | _, _ => l end.
Fixpoint every {A : Type} (f : A -> bool) (l : list A) : bool :=
  match l with [] => true | x :: t => andb (f x) (every f t) end.
Fixpoint times {A : Type} (n : nat) (x : A) : list A := match n with 0 => [] | S m => x :: times m x end.

(* induction *)
Theorem snoc_is_app : forall (A : Type) (l : list A) (x : A), snoc l x = l ++ [x].
Proof.
  intros A l x. induction l as [| y l IH].
  - reflexivity.
  - simpl. rewrite IH. reflexivity.
Qed.

(* induction *)
Theorem length_of_snoc : forall (A : Type) (l : list A) (x : A), length (snoc l x) = S (length l).
Proof.
  intros A l x. induction l as [| y l IH].
  - reflexivity.
  - simpl. rewrite IH. reflexivity.
Qed.

(* induction *)
Theorem length_of_reverse : forall (A : Type) (l : list A), length (reverse l) = length l.
Proof.
  assert (ends : forall (A : Type) (l : list A) (x : A), length (snoc l x) = S (length l)).
  { intros A l x. induction l as [| y l IH]; simpl; congruence. }
  intros A l. induction l as [| x l IH].
  - reflexivity.
  - simpl. rewrite ends. rewrite IH. reflexivity.
Qed.

(* induction *)
Theorem reverse_of_snoc : forall (A : Type) (l : list A) (x : A), reverse (snoc l x) = x :: reverse l.
Proof.
  intros A l x. induction l as [| y l IH].
  - reflexivity.
  - simpl. rewrite IH. reflexivity.
Qed.

(* induction *)
Theorem reverse_twice : forall (A : Type) (l : list A), reverse (reverse l) = l.
Proof.
  assert (ends : forall (A : Type) (l : list A) (x : A), reverse (snoc l x) = x :: reverse l).
  { intros A l x. induction l as [| y l IH].
    - reflexivity.
    - simpl. rewrite IH. reflexivity. }
  intros A l. induction l as [| x l IH].
  - reflexivity.
  - simpl. rewrite ends. rewrite IH. reflexivity.
Qed.

(* induction *)
Theorem reverse_is_rev : forall (A : Type) (l : list A), reverse l = rev l.
Proof.
  assert (ends : forall (A : Type) (l : list A) (x : A), snoc l x = l ++ [x]).
  { intros A l x. induction l as [| y l IH]; simpl; congruence. }
  intros A l. induction l as [| x l IH].
  - reflexivity.
  - simpl. rewrite ends. rewrite IH. reflexivity.
Qed.

(* induction *)
Theorem onto_is_rev : forall (A : Type) (l a : list A), onto l a = rev l ++ a.
Proof.
  intros A l. induction l as [| x l IH]; intros a.
  - reflexivity.
  - simpl. rewrite IH. rewrite <- app_assoc. reflexivity.
Qed.

(* induction *)
Theorem map_of_reverse : forall (A B : Type) (f : A -> B) (l : list A), map f (reverse l) = reverse (map f l).
Proof.
  assert (ends : forall (A B : Type) (f : A -> B) (l : list A) (x : A), map f (snoc l x) = snoc (map f l) (f x)).
  { intros A B f l x. induction l as [| y l IH]; simpl; congruence. }
  intros A B f l. induction l as [| x l IH].
  - reflexivity.
  - simpl. rewrite ends. rewrite IH. reflexivity.
Qed.

(* induction *)
Theorem total_of_app : forall l m, total (l ++ m) = total l + total m.
Proof.
  intros l m. induction l as [| x l IH].
  - reflexivity.
  - simpl. rewrite IH. lia.
Qed.

(* induction *)
Theorem total_of_reverse : forall l, total (reverse l) = total l.
Proof.
  assert (ends : forall l x, total (snoc l x) = x + total l).
  { intros l x. induction l as [| y l IH]; simpl; lia. }
  intros l. induction l as [| x l IH].
  - reflexivity.
  - simpl. rewrite ends. lia.
Qed.

(* induction *)
Theorem take_then_drop : forall (A : Type) (n : nat) (l : list A), take n l ++ drop n l = l.
Proof.
  intros A n. induction n as [| n IH]; intros l.
  - reflexivity.
  - destruct l as [| x l].
    + reflexivity.
    + simpl. rewrite IH. reflexivity.
Qed.

(* induction *)
Theorem length_of_take : forall (A : Type) (n : nat) (l : list A), length (take n l) = Nat.min n (length l).
Proof.
  intros A n. induction n as [| n IH]; intros [| x l].
  - reflexivity.
  - reflexivity.
  - reflexivity.
  - simpl. rewrite IH. reflexivity.
Qed.

(* induction *)
Theorem drop_of_a_sum : forall (A : Type) (n m : nat) (l : list A), drop (n + m) l = drop m (drop n l).
Proof.
  intros A n. induction n as [| n IH]; intros m l.
  - reflexivity.
  - destruct l as [| x l].
    + destruct m; reflexivity.
    + simpl. apply IH.
Qed.

(* induction *)
Theorem every_of_app : forall (A : Type) (f : A -> bool) (l m : list A), every f (l ++ m) = andb (every f l) (every f m).
Proof.
  intros A f l m. induction l as [| x l IH].
  - reflexivity.
  - simpl. rewrite IH. destruct (f x); reflexivity.
Qed.

(* induction *)
Theorem times_of_a_sum : forall (A : Type) (n m : nat) (x : A), times (n + m) x = times n x ++ times m x.
Proof.
  intros A n m x. induction n as [| n IH].
  - reflexivity.
  - simpl. rewrite IH. reflexivity.
Qed.

(* induction *)
Theorem total_of_times : forall n x, total (times n x) = n * x.
Proof.
  intros n x. induction n as [| n IH].
  - reflexivity.
  - simpl. rewrite IH. reflexivity.
Qed.

Theorem cons_is_injective : forall (A : Type) (x y : A) (l m : list A), x :: l = y :: m -> x = y /\ l = m.
Proof.
  intros A x y l m h. injection h as h1 h2. split; assumption.
Qed.

Theorem app_to_nothing : forall (A : Type) (l m : list A), l ++ m = [] -> l = [] /\ m = [].
Proof.
  intros A l m h. destruct l as [| x l].
  - split.
    + reflexivity.
    + exact h.
  - discriminate h.
Qed.
