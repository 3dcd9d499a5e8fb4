(* Inductive predicates: reaching in steps, evenness. *)
Require Import Arith Lia.

Inductive star {A : Type} (R : A -> A -> Prop) : A -> A -> Prop :=
  | star_here : forall x, star R x x
  | star_step : forall x y z, R x y -> star R y z -> star R x z.
Inductive ev : nat -> Prop := ev_zero : ev 0 | ev_more : forall n, ev n -> ev (S (S n)).

(* induction *)
Theorem star_is_transitive : forall (A : Type) (R : A -> A -> Prop) (x y z : A), star R x y -> star R y z -> star R x z.
Proof.
  intros A R x y z h. induction h as [x | x w y r h IH]; intros k.
  - exact k.
  - apply star_step with w.
    + exact r.
    + apply IH. exact k.
Qed.

(* induction *)
Theorem star_of_symmetric : forall (A : Type) (R : A -> A -> Prop), (forall x y, R x y -> R y x) -> forall x y, star R x y -> star R y x.
Proof.
  intros A R sym x y h.
  assert (last : forall a b c, star R a b -> R b c -> star R a c).
  { intros a b c g. induction g as [a | a w b r g IH]; intros k.
    - apply star_step with c.
      + exact k.
      + apply star_here.
    - apply star_step with w.
      + exact r.
      + apply IH. exact k. }
  induction h as [x | x w y r h IH].
  - apply star_here.
  - apply last with w.
    + exact IH.
    + apply sym. exact r.
Qed.

(* induction *)
Theorem star_keeps : forall (A : Type) (R : A -> A -> Prop) (P : A -> Prop), (forall x y, R x y -> P x -> P y) -> forall x y, star R x y -> P x -> P y.
Proof.
  intros A R P keep x y h. induction h as [x | x w y r h IH]; intros p.
  - exact p.
  - apply IH. apply keep with x.
    + exact r.
    + exact p.
Qed.

(* induction *)
Theorem ev_is_double : forall n, ev n -> exists k, n = k + k.
Proof.
  intros n h. induction h as [| n h [k IH]].
  - exists 0. reflexivity.
  - exists (S k). lia.
Qed.

(* induction *)
Theorem double_is_ev : forall k, ev (k + k).
Proof.
  induction k as [| k IH].
  - constructor.
  - simpl. rewrite Nat.add_succ_r. constructor. exact IH.
Qed.

(* induction *)
Theorem ev_of_a_sum : forall n m, ev n -> ev m -> ev (n + m).
Proof.
  intros n m h k. induction h as [| n h IH].
  - exact k.
  - simpl. constructor. exact IH.
Qed.

(* induction *)
Theorem ev_or_next : forall n, ev n \/ ev (S n).
Proof.
  induction n as [| n [IH | IH]].
  - left. constructor.
  - right. constructor. exact IH.
  - left. exact IH.
Qed.

Theorem three_is_not_ev : ~ ev 3.
Proof.
  intros h. inversion h as [| n k e]. inversion k.
Qed.

Theorem ev_without_two : forall n, ev (S (S n)) -> ev n.
Proof.
  intros n h. inversion h as [| m k e]. exact k.
Qed.
